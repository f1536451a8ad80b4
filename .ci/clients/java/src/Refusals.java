import java.time.Duration;
import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.UnsupportedVersionException;

/** What the node does not do, and how a client learns of it. */
final class Refusals {
    private final Checks checks;

    Refusals(Checks checks) {
        this.checks = checks;
    }

    void run() {
        checks.check("a record above max.message.bytes is a RecordTooLargeException, those around it are not", () -> {
            int before = checks.read("one", 0).size();
            try (KafkaProducer<String, byte[]> producer = checks.producer("max.request.size", "4000000")) {
                producer.send(new ProducerRecord<>("one", new byte[10])).get();
                ProducerRecord<String, byte[]> large = new ProducerRecord<>("one", new byte[70_000]);
                Checks.fails(RecordTooLargeException.class, () -> producer.send(large).get());
                producer.send(new ProducerRecord<>("one", new byte[20])).get();
            }
            List<ConsumerRecord<String, byte[]>> records = checks.read("one", 0);
            Checks.equal(before + 2, records.size());
            Checks.equal(20, records.get(before + 1).value().length);
            return null;
        });
        checks.check("a transactional producer fails at once and for good", () -> {
            try (KafkaProducer<String, byte[]> producer = checks.producer("transactional.id", "none", "max.block.ms", "20000")) {
                KafkaException error = Checks.fails(KafkaException.class, producer::initTransactions);
                if (error instanceof TimeoutException) {
                    throw error;
                }
                Checks.fails(KafkaException.class, producer::beginTransaction);
                return error.getClass().getSimpleName();
            }
        });
        checks.check("subscribe() fails at once and for good", () -> {
            try (KafkaConsumer<String, byte[]> consumer = checks.consumer("group.id", "none")) {
                consumer.subscribe(List.of("one"));
                Checks.fails(UnsupportedVersionException.class, () -> {
                    for (int turn = 0; turn < 20; turn++) {
                        Checks.equal(0, consumer.poll(Duration.ofSeconds(1)).count());
                    }
                });
                Checks.equal(0, consumer.assignment().size());
                return "UnsupportedVersionException";
            }
        });
    }
}
