import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Records that are on their way while the node is killed and started again. */
final class Stream {
    private static final int PARTITIONS = 3;
    private static final int RECORDS = 15_000;

    private final Checks checks;

    Stream(Checks checks) {
        this.checks = checks;
    }

    /**
     * Sends, and makes the file {@code signals/go} when a third is acknowledged. The node dies then, and is back when there is a
     * file {@code signals/back}: the last third is not sent before.
     */
    void write(String signals) {
        checks.check(RECORDS + " records with a kill -9 on the way are all acknowledged", () -> {
            try (Admin admin = Admin.create(checks.settings())) {
                admin.createTopics(List.of(new NewTopic("stream", PARTITIONS, (short) 1))).all().get();
            }
            AtomicInteger acknowledged = new AtomicInteger();
            AtomicReference<Exception> failure = new AtomicReference<>();
            ConcurrentHashMap<String, Integer> places = new ConcurrentHashMap<>();
            int onTheirWay = 0;
            try (KafkaProducer<String, byte[]> producer = checks.producer("linger.ms", "1", "batch.size", "2000")) {
                for (int number = 0; number < RECORDS; number++) {
                    if (number == 2 * RECORDS / 3) {
                        while (acknowledged.get() < RECORDS / 3) {
                            pause();
                        }
                        Files.createFile(Path.of(signals, "go"));
                        onTheirWay = number - acknowledged.get();
                        while (!Files.exists(Path.of(signals, "back"))) {
                            pause();
                        }
                    }
                    byte[] value = ByteBuffer.allocate(4).putInt(number).array();
                    int sent = number;
                    producer.send(new ProducerRecord<>("stream", number % PARTITIONS, null, value), (metadata, error) -> {
                        if (error != null) {
                            failure.compareAndSet(null, error);
                            return;
                        }
                        acknowledged.incrementAndGet();
                        places.put(metadata.partition() + "@" + metadata.offset(), sent);
                    });
                }
            }
            if (failure.get() != null) {
                throw failure.get();
            }
            Checks.equal(RECORDS, acknowledged.get());
            for (int number = 0; number < RECORDS; number++) {
                Checks.equal(number, places.get(number % PARTITIONS + "@" + number / PARTITIONS));
            }
            return onTheirWay + " on their way when killed";
        });
    }

    void read() {
        checks.check(RECORDS + " records are there once and in order, after another kill -9", () -> {
            for (int partition = 0; partition < PARTITIONS; partition++) {
                List<ConsumerRecord<String, byte[]>> records = checks.read("stream", partition);
                Checks.equal(RECORDS / PARTITIONS, records.size());
                for (int at = 0; at < records.size(); at++) {
                    Checks.equal(at * PARTITIONS + partition, ByteBuffer.wrap(records.get(at).value()).getInt());
                }
            }
            return null;
        });
    }

    private static void pause() throws InterruptedException {
        Thread.sleep(1);
    }
}
