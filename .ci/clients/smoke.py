"""confluent-kafka for Python, on librdkafka, against nodes that are killed.

    smoke.py PATH/TO/tidelog DIRECTORY
"""

import logging
import pathlib
import sys
import time

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from harness import Checks, expect_equal, running

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
FIRST_TIME_MS = 1_700_000_000_000
PARTITIONS = 4
RECORDS = 20_000
#: How long `subscribe()` may take to show what it does, in seconds.
SUBSCRIBE_S = 8

#: For what fails as it should.
SILENT = logging.getLogger("silent")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


def consumer(node, **more):
    settings = {"bootstrap.servers": node.address, "group.id": "unused", "enable.auto.commit": False, "log_level": 0}
    return Consumer({**settings, "allow.auto.create.topics": False, **more})


def producer(node, **more):
    settings = {"bootstrap.servers": node.address, "enable.idempotence": True, "acks": "all", "log_level": 0}
    return Producer({**settings, **more})


def admin(node):
    return AdminClient({"bootstrap.servers": node.address, "log_level": 0})


def done(futures):
    """Waits for all, and gives the results by name; the first failure is raised."""
    return {name: future.result(timeout=20) for name, future in futures.items()}


def create(node, topic, partitions=1):
    client = admin(node)  # It must live until the answer is there.
    done(client.create_topics([NewTopic(topic, partitions)]))


def refused(futures):
    """The error code with which the one call failed."""
    ((_, future),) = futures.items()
    try:
        future.result(timeout=20)
    except KafkaException as error:
        return error.args[0].code()
    raise AssertionError("it succeeded")


def read(node, topic, partition, first=OFFSET_BEGINNING):
    """Everything from there to the end."""
    with_end = consumer(node, **{"enable.partition.eof": True})
    try:
        with_end.assign([TopicPartition(topic, partition, first)])
        messages = []
        while True:
            message = with_end.poll(20)
            assert message is not None, f"nothing came of {topic}/{partition} after {len(messages)} records"
            if message.error() is None:
                messages.append(message)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                return messages
            else:
                raise KafkaException(message.error())
    finally:
        with_end.close()


def administration(node, checks):
    client = admin(node)
    with checks.check("python: AdminClient creates topics, lists and describes them") as seen:
        seen.append(f"confluent-kafka {confluent_kafka.version()}, librdkafka {confluent_kafka.libversion()[0]}")
        done(client.create_topics([NewTopic("one", 1, 1, config={"max.message.bytes": "65536"}), NewTopic("many", 7)]))
        topics = client.list_topics(timeout=20).topics
        expect_equal({"one": 1, "many": 7}, {name: len(topic.partitions) for name, topic in topics.items()})
        expect_equal(([1], [1], 1), (lambda it: (it.replicas, it.isrs, it.leader))(topics["many"].partitions[6]))
        described = done(client.describe_topics(confluent_kafka.TopicCollection(["many"])))["many"]
        expect_equal(list(range(7)), sorted(it.id for it in described.partitions))
        cluster = client.describe_cluster().result(timeout=20)
        expect_equal((1, node.port), (cluster.controller.id, cluster.nodes[0].port))
    with checks.check("python: AdminClient describes the configs of a topic and of the broker"):
        topic = ConfigResource(ConfigResource.Type.TOPIC, "one")
        broker = ConfigResource(ConfigResource.Type.BROKER, "1")
        configs = done(client.describe_configs([topic]))[topic]
        expect_equal(("65536", False), (configs["max.message.bytes"].value, configs["max.message.bytes"].is_default))
        expect_equal(("delete", True), (configs["cleanup.policy"].value, configs["cleanup.policy"].is_default))
        assert "auto.create.topics.enable" in done(client.describe_configs([broker]))[broker]
    with checks.check("python: AdminClient is refused what is wrong"):
        expect_equal(KafkaError.TOPIC_ALREADY_EXISTS, refused(client.create_topics([NewTopic("one", 1)])))
        expect_equal(KafkaError.INVALID_REPLICATION_FACTOR, refused(client.create_topics([NewTopic("new", 1, 3)])))
        expect_equal(KafkaError.TOPIC_EXCEPTION, refused(client.create_topics([NewTopic("no spaces", 1)])))
        wrong = NewTopic("new", 1, config={"retention.ms": "1000"})
        expect_equal(KafkaError.INVALID_CONFIG, refused(client.create_topics([wrong])))
        expect_equal(KafkaError.UNKNOWN_TOPIC_OR_PART, refused(client.delete_topics(["new"])))
    with checks.check("python: AdminClient deletes a topic; it is gone after kill -9"):
        done(client.delete_topics(["many"]))
        node.kill_and_restart()
        expect_equal(["one"], list(admin(node).list_topics(timeout=20).topics))


def round_trips(node, checks):
    """Every codec, with all that a record can have and not have."""
    records = {codec: [record(codec, number) for number in range(500)] for codec in CODECS}
    for codec in CODECS:
        with checks.check(f"python: idempotent producer, delivery reports of all records, {codec}"):
            create(node, f"trip-{codec}")
            reports = []
            client = producer(node, **{"compression.type": codec, "linger.ms": 20})
            for each in records[codec]:
                client.produce(f"trip-{codec}", **each, on_delivery=lambda *report: reports.append(report))
            expect_equal(0, client.flush(30))
            expect_equal([None], list({error for error, _ in reports}))
            expect_equal(list(range(500)), [message.offset() for _, message in reports])
    node.kill_and_restart()
    for codec in CODECS:
        with checks.check(f"python: keys, values, nulls, headers and timestamps after kill -9, {codec}"):
            got = [
                {"key": it.key(), "value": it.value(), "headers": it.headers() or [], "timestamp": it.timestamp()[1]}
                for it in read(node, f"trip-{codec}", 0)
            ]
            expect_equal(records[codec], got)


def record(codec, number):
    return {
        "key": None if number % 3 == 0 else f"key {number}".encode(),
        "value": None if number % 5 == 0 else b"" if number % 5 == 1 else f"{codec} {number} ".encode() * (number % 40),
        "headers": [("number", str(number).encode()), ("nothing", None), ("twice", b"1"), ("twice", b"\0\xff")][: number % 5],
        "timestamp": FIRST_TIME_MS + 10 * number,
    }


def exactly_once(node, checks):
    """The node dies twice while records are on their way."""
    with checks.check(f"python: {RECORDS} records, two kill -9 on the way: each once, in order") as seen:
        create(node, "stream", PARTITIONS)
        reports = [[] for _ in range(PARTITIONS)]
        failures = []

        def report(error, message):
            if error is None:
                reports[message.partition()].append((message.offset(), int(message.value())))
            else:
                failures.append(error)

        more = {"linger.ms": 2, "batch.num.messages": 200, "compression.type": "lz4", "delivery.timeout.ms": 60_000}
        client = producer(node, **more, **{"reconnect.backoff.max.ms": 500})
        on_their_way = []
        delivered = 0
        for number in range(RECORDS):
            client.produce("stream", str(number).encode(), partition=number % PARTITIONS, on_delivery=report)
            if number % 100 == 0:
                client.poll(0.002)
            if number in (RECORDS // 3, 2 * RECORDS // 3):
                while not failures and sum(map(len, reports)) < delivered + RECORDS // 10:
                    client.poll(0.001)
                delivered = sum(map(len, reports))
                on_their_way.append(number + 1 - delivered)
                node.kill()
                # Some of what follows meets a closed port.
                client.poll(0.3)
                node.start()
        expect_equal(0, client.flush(60))
        expect_equal([], failures)
        assert all(on_their_way), f"nothing was on its way when the node was killed: {on_their_way}"
        seen.append(f"{' and '.join(map(str, on_their_way))} on their way when killed")
        node.kill_and_restart()
        for partition in range(PARTITIONS):
            expected = list(enumerate(range(partition, RECORDS, PARTITIONS)))
            expect_equal(expected, [(it.offset(), int(it.value())) for it in read(node, "stream", partition)])
            expect_equal(expected, sorted(reports[partition]))


def outliving(node, checks):
    """An idempotent producer lives on while its topic is deleted and made again."""
    with checks.check("python: an idempotent producer goes on in a topic that was deleted and made again") as seen:
        reports, fatal = [], []
        more = {"linger.ms": 0, "batch.num.messages": 10, "topic.metadata.refresh.interval.ms": 200, "error_cb": fatal.append}
        client = producer(node, **more, **{"message.timeout.ms": 30_000, "logger": SILENT})
        administrator = admin(node)

        def send(count):
            for _ in range(count):
                client.produce("outlived", b"x", partition=0, on_delivery=lambda error, it: reports.append((error, it.offset())))
                client.poll(0.0005)

        create(node, "outlived")
        for _ in range(3):
            send(200)
            expect_equal(0, client.flush(30))
            done(administrator.delete_topics(["outlived"]))
            done(administrator.create_topics([NewTopic("outlived", 1)]))
            reports.clear()
            send(200)
            expect_equal(0, client.flush(30))
            expect_equal([(None, offset) for offset in range(200)], reports)
        # Now while records are on their way. The producer may make the topic again itself.
        reports.clear()
        gone = [administrator.delete_topics(["outlived"])]
        while not all(future.done() for future in gone[0].values()):
            send(10)
        done(gone[0])
        send(300)
        expect_equal(0, client.flush(30))
        expect_equal([None], list({error for error, _ in reports}))
        expect_equal([], [error for error in fatal if error.fatal()])
        node.kill_and_restart()
        offsets = [offset for _, offset in reports]
        last = offsets[offsets.index(0) :] if offsets[0] else offsets
        expect_equal(list(range(len(last))), last)
        expect_equal(last, [it.offset() for it in read(node, "outlived", 0)])
        seen.append(f"{len(last)} of {len(reports)} records stand in the last topic of the name")


def reading(node, checks):
    client = consumer(node)
    with checks.check("python: watermarks"):
        expect_equal((0, RECORDS // PARTITIONS), client.get_watermark_offsets(TopicPartition("stream", 1), timeout=20))
        expect_equal((0, 0), client.get_watermark_offsets(TopicPartition("one", 0), timeout=20))
    with checks.check("python: seek back and forth"):
        client.assign([TopicPartition("stream", 2, OFFSET_BEGINNING)])
        expect_equal(0, client.poll(20).offset())
        for offset in (4_000, 17, RECORDS // PARTITIONS - 1):
            client.seek(TopicPartition("stream", 2, offset))
            message = client.poll(20)
            expect_equal((offset, offset * PARTITIONS + 2), (message.offset(), int(message.value())))
    with checks.check("python: offsets_for_times"):
        asked = {FIRST_TIME_MS - 5: 0, FIRST_TIME_MS: 0, FIRST_TIME_MS + 1: 1, FIRST_TIME_MS + 2_500: 250}
        for at, offset in {**asked, FIRST_TIME_MS + 4_990: 499, FIRST_TIME_MS + 4_991: confluent_kafka.OFFSET_END}.items():
            for codec in CODECS:
                (found,) = client.offsets_for_times([TopicPartition(f"trip-{codec}", 0, at)], timeout=20)
                expect_equal((at, offset), (at, found.offset))
    client.close()


def refusals(node, checks):
    with checks.check("python: a message above max.message.bytes is refused, those around it are not"):
        reports = []
        client = producer(node, **{"linger.ms": 0, "message.max.bytes": 4_000_000, "batch.num.messages": 1})
        for size in (10, 70_000, 20):
            client.produce("one", b"x" * size, on_delivery=lambda *report: reports.append(report))
            expect_equal(0, client.flush(30))
        codes = [error and error.code() for error, _ in reports]
        expect_equal([None, KafkaError.MSG_SIZE_TOO_LARGE, None], codes)
        expect_equal([(0, 10), (1, 20)], [(it.offset(), len(it.value())) for it in read(node, "one", 0)])
    with checks.check("python: records whose time can not be are refused, one by one; the idempotent producer goes on"):
        now = int(time.time() * 1000)
        reports = {}
        client = producer(node, **{"linger.ms": 0, "batch.num.messages": 1, "logger": SILENT})
        for number in range(20):
            at = now + (2 * 3_600_000 if number in (5, 6, 13) else 0)
            keep = lambda error, it: reports.update({int(it.value()): error and error.code()})
            client.produce("trip-none", str(number).encode(), partition=0, timestamp=at, on_delivery=keep)
        expect_equal(0, client.flush(30))
        expect_equal([5, 6, 13], sorted(number for number, code in reports.items() if code == KafkaError.INVALID_TIMESTAMP))
        expect_equal(17, sum(code is None for code in reports.values()))
    with checks.check("python: the records at fault in a batch are named"):
        reports = {}
        client = producer(node, **{"linger.ms": 500, "logger": SILENT})
        for number in range(10):
            at = now + (2 * 3_600_000 if number in (3, 7) else 0)
            client.produce("trip-none", str(number).encode(), partition=0, timestamp=at, on_delivery=keep)
        expect_equal(0, client.flush(30))
        named = sorted(number for number, code in reports.items() if code == KafkaError.INVALID_RECORD)
        expect_equal(([3, 7], {KafkaError.INVALID_RECORD, KafkaError._INVALID_DIFFERENT_RECORD}), (named, set(reports.values())))
    with checks.check("python: a transactional producer fails at once and for good") as seen:
        client = producer(node, **{"transactional.id": "none", "logger": SILENT})
        try:
            client.init_transactions(20)
        except KafkaException as error:
            seen.append(error.args[0].name())
            assert error.args[0].code() != KafkaError._TIMED_OUT, error
        else:
            raise AssertionError("it succeeded")
    with checks.check(f"python: subscribe() gets no partitions in {SUBSCRIBE_S} s, assign() then works") as seen:
        client = consumer(node)
        assigned = []
        client.subscribe(["stream"], on_assign=lambda _, partitions: assigned.extend(partitions))
        errors = set()
        end = time.monotonic() + SUBSCRIBE_S
        while time.monotonic() < end:
            message = client.poll(0.5)
            if message is not None:
                assert message.error() is not None, "a record came"
                errors.add(message.error().name())
        expect_equal([], assigned)
        seen.append(f"error {', '.join(sorted(errors))}" if errors else "no error is raised")
        client.unsubscribe()
        client.assign([TopicPartition("stream", 0, OFFSET_BEGINNING)])
        expect_equal(0, client.poll(20).offset())
        client.close()


def main():
    program, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    checks = Checks()
    with running(program, directory / "python") as node:
        for part in (administration, round_trips, exactly_once, outliving, reading, refusals):
            part(node, checks)
        with checks.check("python: the node is alive and logged no error"):
            node.is_fine()
    sys.exit(1 if checks.failed else 0)


main()
