import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.utils.AppInfoParser;

/** Topics are made, told about and deleted. */
final class Administration {
    private final Checks checks;

    Administration(Checks checks) {
        this.checks = checks;
    }

    void run() {
        try (Admin admin = Admin.create(checks.settings())) {
            checks.check("AdminClient createTopics with configs, listTopics", () -> {
                NewTopic one = new NewTopic("one", Optional.of(1), Optional.empty()).configs(Map.of("max.message.bytes", "65536"));
                get(admin.createTopics(List.of(one, new NewTopic("many", 7, (short) 1))).all());
                Checks.equal(Set.of("one", "many"), get(admin.listTopics().names()));
                return "kafka-clients " + AppInfoParser.getVersion();
            });
            checks.check("AdminClient describeTopics, by name and by id", () -> {
                TopicDescription many = get(admin.describeTopics(List.of("many")).allTopicNames()).get("many");
                Checks.equal(7, many.partitions().size());
                Checks.equal(1, many.partitions().get(6).leader().id());
                Checks.equal(1, many.partitions().get(6).isr().size());
                TopicCollection byId = TopicCollection.ofTopicIds(List.of(many.topicId()));
                Checks.equal("many", get(admin.describeTopics(byId).allTopicIds()).get(many.topicId()).name());
                Checks.fails(
                        UnknownTopicOrPartitionException.class, () -> get(admin.describeTopics(List.of("none")).allTopicNames()));
                return null;
            });
            checks.check("AdminClient describeConfigs of topic and broker", () -> {
                Config topic = configs(admin, ConfigResource.Type.TOPIC, "one");
                Checks.equal("65536", topic.get("max.message.bytes").value());
                Checks.equal(false, topic.get("max.message.bytes").isDefault());
                Checks.equal(true, topic.get("cleanup.policy").isDefault());
                Checks.equal("true", configs(admin, ConfigResource.Type.BROKER, "1").get("auto.create.topics.enable").value());
                return null;
            });
            checks.check("AdminClient describeCluster", () -> {
                Checks.equal(1, get(admin.describeCluster().controller()).id());
                Checks.equal(1, get(admin.describeCluster().nodes()).size());
                Checks.equal(false, get(admin.describeCluster().clusterId()).isEmpty());
                return null;
            });
            checks.check("AdminClient listOffsets: earliest, latest, greatest timestamp, by time", () -> listOffsets(admin));
            checks.check("createTopics is refused: exists, replication factor, name, partitions", () -> {
                refused(TopicExistsException.class, admin, new NewTopic("one", 1, (short) 1));
                refused(InvalidReplicationFactorException.class, admin, new NewTopic("new", 1, (short) 3));
                refused(InvalidTopicException.class, admin, new NewTopic("no spaces", 1, (short) 1));
                refused(InvalidTopicException.class, admin, new NewTopic("x".repeat(250), 1, (short) 1));
                refused(InvalidPartitionsException.class, admin, new NewTopic("new", 0, (short) 1));
                return null;
            });
            checks.check("createTopics is refused: configs that are unknown, wrong or without effect", () -> {
                for (Map<String, String> configs : List.of(
                        Map.of("no.such.config", "1"), Map.of("max.message.bytes", "-5"), Map.of("retention.ms", "1000"),
                        Map.of("cleanup.policy", "compact"))) {
                    NewTopic topic = new NewTopic("new", 1, (short) 1).configs(configs);
                    refused(InvalidConfigurationException.class, admin, topic);
                }
                Checks.equal(Set.of("one", "many"), get(admin.listTopics().names()));
                return null;
            });
            checks.check("AdminClient deleteTopics", () -> {
                get(admin.deleteTopics(List.of("many")).all());
                Checks.equal(Set.of("one"), get(admin.listTopics().names()));
                Checks.fails(UnknownTopicOrPartitionException.class, () -> get(admin.deleteTopics(List.of("many")).all()));
                return null;
            });
        }
    }

    private String listOffsets(Admin admin) throws Exception {
        TopicPartition at = new TopicPartition("one", 0);
        try (KafkaProducer<String, byte[]> producer = checks.producer()) {
            for (long timestamp : new long[] {1000, 3000, 2000}) {
                producer.send(new ProducerRecord<>("one", 0, timestamp, null, new byte[0])).get();
            }
        }
        Checks.equal(0L, offset(admin, at, OffsetSpec.earliest()).offset());
        Checks.equal(3L, offset(admin, at, OffsetSpec.latest()).offset());
        Checks.equal(1L, offset(admin, at, OffsetSpec.maxTimestamp()).offset());
        Checks.equal(3000L, offset(admin, at, OffsetSpec.maxTimestamp()).timestamp());
        Checks.equal(1L, offset(admin, at, OffsetSpec.forTimestamp(1001)).offset());
        Checks.equal(3000L, offset(admin, at, OffsetSpec.forTimestamp(1001)).timestamp());
        Checks.equal(-1L, offset(admin, at, OffsetSpec.forTimestamp(3001)).offset());
        return null;
    }

    private static ListOffsetsResultInfo offset(Admin admin, TopicPartition at, OffsetSpec spec) throws Exception {
        return get(admin.listOffsets(Map.of(at, spec)).partitionResult(at));
    }

    private static Config configs(Admin admin, ConfigResource.Type type, String name) throws Exception {
        ConfigResource resource = new ConfigResource(type, name);
        return get(admin.describeConfigs(List.of(resource)).all()).get(resource);
    }

    private static void refused(Class<? extends Exception> how, Admin admin, NewTopic topic) {
        Checks.fails(how, () -> get(admin.createTopics(List.of(topic)).all()));
    }

    private static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(Checks.PATIENCE.toSeconds(), TimeUnit.SECONDS);
    }
}
