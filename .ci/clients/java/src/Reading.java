import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** What {@link Writing} wrote. */
final class Reading {
    private final Checks checks;

    Reading(Checks checks) {
        this.checks = checks;
    }

    void run() {
        for (String codec : Writing.CODECS) {
            checks.check("keys, values, nulls, headers and timestamps after kill -9, " + codec, () -> {
                List<ConsumerRecord<String, byte[]>> records = checks.read("trip-" + codec, 0);
                Checks.equal(Writing.RECORDS, records.size());
                for (int number = 0; number < Writing.RECORDS; number++) {
                    same(Writing.record(codec, number), records.get(number), number);
                }
                return null;
            });
        }
        checks.check("KafkaConsumer assign, seek, offsetsForTimes, beginningOffsets, endOffsets", () -> {
            TopicPartition at = new TopicPartition("trip-zstd", 0);
            try (KafkaConsumer<String, byte[]> consumer = checks.consumer("max.poll.records", "1")) {
                consumer.assign(List.of(at));
                Checks.equal(Map.of(at, 0L), consumer.beginningOffsets(List.of(at)));
                Checks.equal(Map.of(at, (long) Writing.RECORDS), consumer.endOffsets(List.of(at)));
                for (long offset : new long[] {400, 7, Writing.RECORDS - 1}) {
                    consumer.seek(at, offset);
                    Checks.equal(offset, consumer.poll(Checks.PATIENCE).records(at).get(0).offset());
                }
                consumer.seekToBeginning(List.of(at));
                Checks.equal(0L, consumer.poll(Checks.PATIENCE).records(at).get(0).offset());
                consumer.seekToEnd(List.of(at));
                Checks.equal((long) Writing.RECORDS, consumer.position(at));
                Checks.equal(250L, forTime(consumer, at, Writing.FIRST_TIME_MS + 2_500).offset());
                OffsetAndTimestamp between = forTime(consumer, at, Writing.FIRST_TIME_MS + 2_501);
                Checks.equal(251L, between.offset());
                Checks.equal(Writing.FIRST_TIME_MS + 2_510, between.timestamp());
                Checks.equal(null, forTime(consumer, at, Writing.FIRST_TIME_MS + 4_991));
            }
            return null;
        });
    }

    private static OffsetAndTimestamp forTime(KafkaConsumer<?, ?> consumer, TopicPartition at, long time) {
        return consumer.offsetsForTimes(Map.of(at, time)).get(at);
    }

    private static void same(ProducerRecord<String, byte[]> sent, ConsumerRecord<String, byte[]> got, long offset) {
        Checks.equal(offset, got.offset());
        Checks.equal(sent.timestamp(), got.timestamp());
        Checks.equal(sent.key(), got.key());
        Checks.equal(Arrays.toString(sent.value()), Arrays.toString(got.value()));
        Checks.equal(sent.headers(), got.headers());
    }
}
