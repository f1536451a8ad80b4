import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** Every codec, with all that a record can have and not have. */
final class Writing {
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    static final int RECORDS = 500;
    static final long FIRST_TIME_MS = 1_700_000_000_000L;
    private static final int KEYS = 200;

    private final Checks checks;

    Writing(Checks checks) {
        this.checks = checks;
    }

    /** Record so many of the topic of this codec. */
    static ProducerRecord<String, byte[]> record(String codec, int number) {
        String key = number % 3 == 0 ? null : "key " + number;
        byte[] value = switch (number % 5) {
            case 0 -> null;
            case 1 -> new byte[0];
            default -> (codec + " " + number + " ").repeat(number % 40).getBytes(StandardCharsets.UTF_8);
        };
        List<Header> headers = new ArrayList<>();
        for (int header = 0; header < number % 4; header++) {
            headers.add(new RecordHeader("header", header == 1 ? null : new byte[] {(byte) header, -1}));
        }
        return new ProducerRecord<>("trip-" + codec, 0, FIRST_TIME_MS + 10L * number, key, value, headers);
    }

    void write() {
        for (String codec : CODECS) {
            checks.check("KafkaProducer as it is by default (idempotent, acks=all), " + codec, () -> {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                try (KafkaProducer<String, byte[]> producer = checks.producer("compression.type", codec)) {
                    for (int number = 0; number < RECORDS; number++) {
                        sent.add(producer.send(record(codec, number)));
                    }
                }
                for (int number = 0; number < RECORDS; number++) {
                    Checks.equal((long) number, sent.get(number).get().offset());
                }
                return null;
            });
        }
    }

    /** Keys that the client's own partitioner puts somewhere; where is written into the file, a line `key partition` for each. */
    void keys(String file) {
        checks.check("KafkaProducer chooses a partition for each of " + KEYS + " keys", () -> {
            try (Admin admin = Admin.create(checks.settings())) {
                admin.createTopics(List.of(new NewTopic("keys-java", 6, (short) 1))).all().get();
            }
            try (KafkaProducer<String, byte[]> producer = checks.producer();
                    PrintWriter out = new PrintWriter(file, StandardCharsets.UTF_8)) {
                for (int number = 0; number < KEYS; number++) {
                    String key = "key-" + "ø".repeat(number % 7) + number;
                    out.println(key + " " + producer.send(new ProducerRecord<>("keys-java", key, new byte[0])).get().partition());
                }
            }
            return null;
        });
    }
}
