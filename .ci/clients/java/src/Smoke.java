/**
 * kafka-clients of Java against a node: {@code Smoke ADDRESS PART...}. `read` and `streamed` find what `write` and `stream` left,
 * also if the node was killed between.
 */
final class Smoke {
    private Smoke() {}

    public static void main(String[] arguments) throws Exception {
        Checks checks = new Checks(arguments[0]);
        for (int at = 1; at < arguments.length; at++) {
            switch (arguments[at]) {
                case "admin" -> new Administration(checks).run();
                case "write" -> new Writing(checks).write();
                case "keys" -> new Writing(checks).keys(arguments[++at]);
                case "read" -> new Reading(checks).run();
                case "stream" -> new Stream(checks).write(arguments[++at]);
                case "streamed" -> new Stream(checks).read();
                case "refused" -> new Refusals(checks).run();
                default -> throw new IllegalArgumentException(arguments[at]);
            }
        }
        System.exit(checks.failed() == 0 ? 0 : 1);
    }
}
