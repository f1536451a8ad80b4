import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.StringJoiner;
import java.util.concurrent.atomic.AtomicLong;

import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The producer of client.py by Java's client: the same lines in and out. The end of stdin ends it at once.
 */
public final class Client {
    private final PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    private final AtomicLong open = new AtomicLong();
    private final List<String> reports = new ArrayList<>();
    private final List<String> fatal = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Map<?, ?> start = (Map<?, ?>) Json.read(lines.readLine());
        Properties config = new Properties();
        ((Map<?, ?>) start.get("config")).forEach((key, value) -> config.put(key, value.toString()));
        new Client().run(new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer()), lines);
    }

    private void run(KafkaProducer<byte[], byte[]> producer, BufferedReader lines) throws Exception {
        Thread teller = new Thread(this::tellAlways);
        teller.setDaemon(true);
        teller.start();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<?, ?> told = (Map<?, ?>) Json.read(line);
            if (told.get("send") instanceof List<?> records) {
                open.addAndGet(records.size());
                for (Object record : records) {
                    send(producer, (String) told.get("topic"), (Map<?, ?>) record);
                }
            }
            if (told.get("flush") instanceof Number seconds) {
                long end = System.nanoTime() + (long) (seconds.doubleValue() * 1e9);
                while (open.get() > 0 && System.nanoTime() < end) {
                    Thread.sleep(10);
                }
                long left = open.get();
                tell();
                say("{\"flushed\":" + left + "}");
            }
        }
        Runtime.getRuntime().halt(0);
    }

    private void send(KafkaProducer<byte[], byte[]> producer, String topic, Map<?, ?> record) {
        long id = ((Number) record.get("id")).longValue();
        List<Header> headers = new ArrayList<>();
        for (Object header : (List<?>) record.get("headers")) {
            headers.add(new RecordHeader((String) ((List<?>) header).get(0), bytes(((List<?>) header).get(1))));
        }
        int partition = ((Number) record.get("partition")).intValue();
        long timestamp = ((Number) record.get("timestamp")).longValue();
        byte[] key = bytes(record.get("key"));
        byte[] value = bytes(record.get("value"));
        try {
            producer.send(new ProducerRecord<>(topic, partition, timestamp, key, value, headers), (metadata, error) -> {
                report(id, error == null ? metadata.offset() : -1, error);
            });
        } catch (KafkaException error) {
            report(id, -1, error);
        }
    }

    private void report(long id, long offset, Exception error) {
        synchronized (reports) {
            if (error == null) {
                reports.add("{\"id\":" + id + ",\"offset\":" + offset + "}");
            } else {
                Errors kind = Errors.forException(error);
                String text = kind + ": " + error;
                boolean refused = kind == Errors.MESSAGE_TOO_LARGE || kind == Errors.INVALID_RECORD;
                reports.add("{\"id\":" + id + ",\"error\":" + Json.quoted(text) + ",\"code\":" + kind.code()
                        + ",\"refused\":" + refused + "}");
                switch (kind) {
                    // It goes on under another epoch of its id: that is another session.
                    case OUT_OF_ORDER_SEQUENCE_NUMBER, UNKNOWN_PRODUCER_ID, DUPLICATE_SEQUENCE_NUMBER,
                            INVALID_PRODUCER_EPOCH, PRODUCER_FENCED -> fatal.add(text);
                    default -> { }
                }
            }
        }
        open.decrementAndGet();
    }

    private void tellAlways() {
        try {
            while (true) {
                tell();
                Thread.sleep(5);
            }
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    private void tell() {
        StringJoiner said = new StringJoiner(",", "{\"reports\":[", "]}");
        List<String> spent;
        synchronized (reports) {
            if (reports.isEmpty() && fatal.isEmpty()) {
                return;
            }
            reports.forEach(said::add);
            reports.clear();
            spent = List.copyOf(fatal);
            fatal.clear();
        }
        say(said.toString());
        spent.forEach(text -> say("{\"fatal\":" + Json.quoted(text) + "}"));
    }

    private void say(String line) {
        synchronized (out) {
            out.print(line + "\n");
            out.flush();
        }
    }

    private static byte[] bytes(Object text) {
        return text == null ? null : ((String) text).getBytes(StandardCharsets.ISO_8859_1);
    }

    /** As much JSON as these lines need. */
    private static final class Json {
        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        static Object read(String text) throws IOException {
            if (text == null) {
                throw new IOException("there is no line");
            }
            return new Json(text).value();
        }

        static String quoted(String text) {
            StringBuilder quoted = new StringBuilder("\"");
            for (char each : text.toCharArray()) {
                if (each < ' ' || each == '"' || each == '\\') {
                    quoted.append(String.format("\\u%04x", (int) each));
                } else {
                    quoted.append(each);
                }
            }
            return quoted.append('"').toString();
        }

        private Object value() {
            return switch (text.charAt(at)) {
                case '{' -> object();
                case '[' -> array();
                case '"' -> string();
                case 't' -> word("true", true);
                case 'f' -> word("false", false);
                case 'n' -> word("null", null);
                default -> number();
            };
        }

        private Object word(String word, Object value) {
            at += word.length();
            return value;
        }

        private Map<String, Object> object() {
            Map<String, Object> object = new HashMap<>();
            at++;
            while (text.charAt(at) != '}') {
                String key = string();
                at++;
                object.put(key, value());
                at += text.charAt(at) == ',' ? 1 : 0;
            }
            at++;
            return object;
        }

        private List<Object> array() {
            List<Object> array = new ArrayList<>();
            at++;
            while (text.charAt(at) != ']') {
                array.add(value());
                at += text.charAt(at) == ',' ? 1 : 0;
            }
            at++;
            return array;
        }

        private Number number() {
            int from = at;
            while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
            String digits = text.substring(from, at);
            if (digits.matches("-?[0-9]+")) {
                return Long.valueOf(digits);
            }
            return Double.valueOf(digits);
        }

        private String string() {
            StringBuilder string = new StringBuilder();
            for (at++; text.charAt(at) != '"'; at++) {
                char each = text.charAt(at);
                if (each != '\\') {
                    string.append(each);
                    continue;
                }
                at++;
                switch (text.charAt(at)) {
                    case 'n' -> string.append('\n');
                    case 'r' -> string.append('\r');
                    case 't' -> string.append('\t');
                    case 'b' -> string.append('\b');
                    case 'f' -> string.append('\f');
                    case 'u' -> {
                        string.append((char) Integer.parseInt(text.substring(at + 1, at + 5), 16));
                        at += 4;
                    }
                    default -> string.append(text.charAt(at));
                }
            }
            at++;
            return string.toString();
        }
    }
}
