"""A Kafka client that measures itself: librdkafka, driven as fast as Python can.

    create BOOTSTRAP TOPIC PARTITIONS REPLICAS      and waits until every partition has a leader
    delete BOOTSTRAP TOPIC
    produce BOOTSTRAP TOPIC PARTITIONS SECONDS BYTES    for so long or so much, whichever is first, until all is acknowledged
    consume BOOTSTRAP TOPIC PARTITIONS              everything that is there
    follow BOOTSTRAP TOPIC PARTITIONS               what comes from now on, until it has as many bytes as a second line of stdin says
    delay BOOTSTRAP TOPIC PARTITIONS SECONDS RATE   writes so many records a second, and reads them as they come

All but the first two say "ready" once they are connected, begin at the next line of stdin, and say the bytes of values, seconds, and
seconds of CPU of all threads. `delay` says in addition the median and the 99th percentile of the milliseconds from the moment a record
was handed over to the moment it was read. A record that fails ends the process.
"""

import os
import struct
import sys
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

RECORD_BYTES = 1024
# How many records are handed over between two looks at the clock.
TOGETHER = 500
PATIENCE = 60


def fail(what):
    print(what, file=sys.stderr, flush=True)
    os._exit(1)


def create(bootstrap, topic, partitions, replicas):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = NewTopic(topic, num_partitions=int(partitions), replication_factor=int(replicas))
    admin.create_topics([new])[topic].result(PATIENCE)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        known = admin.list_topics(timeout=PATIENCE).topics.get(topic)
        if known and len(known.partitions) == int(partitions):
            whole = [p.leader >= 0 and len(p.isrs) == int(replicas) for p in known.partitions.values()]
            if all(whole):
                return
        time.sleep(0.05)
    fail("the topic does not get all its leaders and replicas")


def delete(bootstrap, topic):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(PATIENCE)


def measured(work):
    """Tells that all is ready, waits for the word, works, and tells what it took."""
    print("ready", flush=True)
    sys.stdin.readline()
    begun, busy = time.monotonic(), time.process_time()
    done = work()
    print(done, time.monotonic() - begun, time.process_time() - busy, flush=True)


def producer_of(bootstrap):
    return Producer({
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": "none",
        # Only failures are worth a call of Python for each record: flush() tells whether anything is left.
        "delivery.report.only.error": True,
        "on_delivery": lambda error, _: error and fail(f"not produced: {error}"),
        "error_cb": lambda error: error.fatal() and fail(f"fatal: {error}"),
    })


def consumer_of(bootstrap):
    return Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "bench",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
    })


def produce(bootstrap, topic, partitions, seconds, limit):
    partitions, seconds, limit = int(partitions), float(seconds), int(limit)
    producer = producer_of(bootstrap)
    noise = os.urandom(RECORD_BYTES * 1024)
    values = [noise[at:at + RECORD_BYTES] for at in range(0, len(noise), RECORD_BYTES)]

    def flush():
        if producer.flush(PATIENCE):
            fail("not everything was acknowledged in time")

    def work():
        until, sent = time.monotonic() + seconds, 0
        while sent * RECORD_BYTES < limit and time.monotonic() < until:
            # A partition gets many records in a row, as from librdkafka's own (sticky) choice: each other record to another one
            # would wake threads of the client for each record, which costs more CPU than sending it.
            partition = sent // TOGETHER % partitions
            for _ in range(TOGETHER):
                while True:
                    try:
                        producer.produce(topic, values[sent % len(values)], partition=partition)
                        break
                    except BufferError:
                        producer.poll(0.005)
                sent += 1
            producer.poll(0)
        flush()
        return sent * RECORD_BYTES

    for partition in range(partitions):
        producer.produce(topic, values[0], partition=partition)
    flush()
    measured(work)


def consume(bootstrap, topic, partitions):
    consumer = consumer_of(bootstrap)
    places = [TopicPartition(topic, partition, 0) for partition in range(int(partitions))]
    total = sum(consumer.get_watermark_offsets(place, timeout=PATIENCE)[1] for place in places)

    def work():
        consumer.assign(places)
        read = size = 0
        heard = time.monotonic()
        while read < total:
            # No more than there are: for those it would wait.
            messages = consumer.consume(min(TOGETHER, total - read), 1)
            for message in messages:
                if message.error():
                    fail(f"not consumed: {message.error()}")
                size += len(message.value())
            read += len(messages)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > PATIENCE:
                fail(f"only {read} of {total} records came")
        return size

    measured(work)


def at_the_end(bootstrap, topic, partitions):
    """A consumer of what comes from now on."""
    consumer = consumer_of(bootstrap)
    places = [TopicPartition(topic, partition) for partition in range(int(partitions))]
    for place in places:
        place.offset = consumer.get_watermark_offsets(place, timeout=PATIENCE)[1]
    consumer.assign(places)
    return consumer


def messages_of(consumer, timeout):
    messages = consumer.consume(TOGETHER, timeout)
    for message in messages:
        if message.error():
            fail(f"not consumed: {message.error()}")
    return messages


def follow(bootstrap, topic, partitions):
    consumer = at_the_end(bootstrap, topic, partitions)
    told = []
    teller = threading.Thread(target=lambda: told.append(int(sys.stdin.readline())), daemon=True)

    def work():
        teller.start()
        size, heard = 0, time.monotonic()
        while not told or size < told[0]:
            messages = messages_of(consumer, 0.1)
            size += sum(len(message.value()) for message in messages)
            if messages:
                heard = time.monotonic()
            elif told and time.monotonic() - heard > PATIENCE:
                fail(f"only {size} of {told[0]} bytes came")
        return size

    measured(work)


def delay(bootstrap, topic, partitions, seconds, rate):
    partitions, seconds, rate = int(partitions), float(seconds), int(rate)
    consumer, producer = at_the_end(bootstrap, topic, partitions), producer_of(bootstrap)
    total, delays = int(seconds * rate), []
    rest = os.urandom(RECORD_BYTES - 8)

    def write(begun):
        for nth in range(total):
            due = begun + nth / rate
            while (now := time.monotonic()) < due:
                producer.poll(0)
                time.sleep(min(due - now, 0.001))
            # From when it was due: who hands over late has waited, too.
            producer.produce(topic, struct.pack(">d", due) + rest, partition=nth % partitions)
        if producer.flush(PATIENCE):
            fail("not everything was acknowledged in time")

    def work():
        writer = threading.Thread(target=write, args=[time.monotonic()], daemon=True)
        writer.start()
        heard = time.monotonic()
        while len(delays) < total:
            messages = messages_of(consumer, 0.001)
            now = time.monotonic()
            delays.extend(now - struct.unpack_from(">d", message.value())[0] for message in messages)
            if messages:
                heard = now
            elif now - heard > PATIENCE:
                fail(f"only {len(delays)} of {total} records came")
        writer.join()
        return total * RECORD_BYTES

    measured(work)
    delays.sort()
    print(*(f"{delays[int(share * (total - 1))] * 1000:.3f}" for share in (0.5, 0.99)), flush=True)


WORK = {"create": create, "delete": delete, "produce": produce, "consume": consume, "follow": follow, "delay": delay}
WORK[sys.argv[1]](*sys.argv[2:])
