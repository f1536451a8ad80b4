import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Checks that are counted, a line for each, and the clients that they use. */
final class Checks {
    /** For one answer of a node that is up. */
    static final Duration PATIENCE = Duration.ofSeconds(20);

    /** What a check does; what it gives is added to its line, if it is not null. */
    interface Check {
        String run() throws Exception;
    }

    /** What must not succeed. */
    interface Attempt {
        void run() throws Exception;
    }

    final String address;
    private int failed;

    Checks(String address) {
        this.address = address;
    }

    void check(String what, Check check) {
        try {
            String note = check.run();
            System.out.println("ok: java: " + what + (note == null ? "" : " (" + note + ")"));
        } catch (Exception | AssertionError error) {
            failed++;
            System.out.println("FAILED: java: " + what);
            error.printStackTrace();
        }
    }

    int failed() {
        return failed;
    }

    static void equal(Object expected, Object got) {
        if (!Objects.equals(expected, got)) {
            throw new AssertionError("expected " + shortened(expected) + ", got " + shortened(got));
        }
    }

    private static String shortened(Object it) {
        String text = String.valueOf(it);
        return text.length() > 500 ? text.substring(0, 500) + "..." : text;
    }

    /** Asserts that it fails like this, here or in the future that it waits for. */
    static <E extends Throwable> E fails(Class<E> expected, Attempt attempt) {
        try {
            attempt.run();
        } catch (Exception error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            if (expected.isInstance(cause)) {
                return expected.cast(cause);
            }
            throw new AssertionError("expected " + expected.getSimpleName(), cause);
        }
        throw new AssertionError("expected " + expected.getSimpleName() + ", but it succeeded");
    }

    /** Settings of the form name, value, name, value, ... beside the address. */
    Properties settings(Object... more) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        for (int at = 0; at < more.length; at += 2) {
            settings.put((String) more[at], more[at + 1]);
        }
        return settings;
    }

    KafkaProducer<String, byte[]> producer(Object... more) {
        return new KafkaProducer<>(settings(more), new StringSerializer(), new ByteArraySerializer());
    }

    KafkaConsumer<String, byte[]> consumer(Object... more) {
        return new KafkaConsumer<>(settings(more), new StringDeserializer(), new ByteArrayDeserializer());
    }

    /** All records of a partition, from its beginning to its end as it is now. */
    List<ConsumerRecord<String, byte[]>> read(String topic, int partition) {
        TopicPartition at = new TopicPartition(topic, partition);
        List<ConsumerRecord<String, byte[]>> records = new ArrayList<>();
        try (KafkaConsumer<String, byte[]> consumer = consumer("allow.auto.create.topics", "false")) {
            consumer.assign(List.of(at));
            consumer.seekToBeginning(List.of(at));
            long end = consumer.endOffsets(List.of(at)).get(at);
            while (consumer.position(at) < end) {
                List<ConsumerRecord<String, byte[]>> more = consumer.poll(PATIENCE).records(at);
                if (more.isEmpty()) {
                    throw new AssertionError("nothing came of " + at + " after " + records.size() + " records of " + end);
                }
                records.addAll(more);
            }
        }
        return records;
    }
}
