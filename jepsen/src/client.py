"""A Kafka client that does what it is told: one JSON object per line in, one per line out.

The first line says what it is: {"role": "producer" | "consumer", "config": {...}}. The end of stdin ends it at once, as does any
error that it does not expect. Bytes of keys, values and headers travel as strings of the characters 0 to 255.

A producer takes {"topic", "send": [{"id", "partition", "key", "value", "headers", "timestamp"}, ...]} and {"flush": seconds}, and says
{"reports": [{"id", "offset"} | {"id", "error", "code", "refused"}, ...]}, {"fatal": text} and {"flushed": how many are left}.

A consumer answers each line with one line:
    {"create", "partitions", "replicas"}     {"done": true}
    {"assign": [[partition, offset], ...], "topic"}    {"done": true}
    {"poll": records at most, "timeout"}     {"records": [...], "ends": [[partition, offset], ...], "errors": [[partition, text], ...]}
    {"watermarks": partition, "topic", "timeout"}      {"low", "high"}
    {"time": milliseconds, "partition", "topic", "timeout"}    {"offset": offset or null}
    {"leaders": topic, "timeout"}            {"leaders": [[partition, node], ...], "controller": node}
or with {"error": text}.
"""

import json
import os
import queue
import sys
import threading

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

# The broker read the record and will not have it; no other attempt of it can have been kept.
REFUSED = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
}


def say(what):
    sys.stdout.write(json.dumps(what, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def text(data):
    return None if data is None else data.decode("latin-1")


def data(string):
    return None if string is None else string.encode("latin-1")


def described(error):
    return f"{error.name()}: {error.str()}"


class Lines:
    """The lines of stdin, read by a thread of their own; the process ends with them."""

    def __init__(self):
        self.queue = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in sys.stdin:
            self.queue.put(json.loads(line))
        os._exit(0)

    def next(self, timeout=None):
        try:
            return self.queue.get(timeout=timeout)
        except queue.Empty:
            return None


def producer(config, lines):
    reports = []
    fatal = []

    def failed(error):
        if error.fatal():
            fatal.append(described(error))

    client = Producer(config, error_cb=failed)

    def report(ident):
        def on_delivery(error, message):
            if error is None:
                reports.append({"id": ident, "offset": message.offset()})
            else:
                refused = error.code() in REFUSED
                reports.append({"id": ident, "error": described(error), "code": error.code(), "refused": refused})

        return on_delivery

    def serve(seconds):
        """Lets callbacks run. A fatal error is raised here too, once."""
        try:
            client.poll(seconds)
        except KafkaException as error:
            failed(error.args[0])

    def tell():
        nonlocal reports
        if reports:
            say({"reports": reports})
            reports = []
        while fatal:
            say({"fatal": fatal.pop()})

    while True:
        line = lines.next(0.005)
        while line is not None:
            for it in line.get("send", []):
                try:
                    client.produce(
                        line["topic"],
                        value=data(it["value"]),
                        key=data(it["key"]),
                        partition=it["partition"],
                        headers=[(key, data(value)) for key, value in it["headers"]],
                        timestamp=it["timestamp"],
                        on_delivery=report(it["id"]),
                    )
                except BufferError as error:
                    # It never left this process.
                    reports.append({"id": it["id"], "error": str(error), "code": 0, "refused": True})
                except KafkaException as error:
                    # A fatal error of before, or nonsense: nothing was queued, but do not be too sure.
                    reports.append({"id": it["id"], "error": described(error.args[0]), "code": error.args[0].code(), "refused": False})
            if "flush" in line:
                end = line["flush"]
                while end > 0 and len(client):
                    serve(0.2)
                    end -= 0.2
                    tell()
                tell()
                say({"flushed": len(client)})
            serve(0)
            line = lines.next(0) if not lines.queue.empty() else None
        serve(0)
        tell()


def record(message):
    kind, timestamp = message.timestamp()
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "key": text(message.key()),
        "value": text(message.value()),
        "headers": [[key, text(value)] for key, value in message.headers() or []],
        "timestamp": timestamp,
    }


def poll(client, line):
    records, ends, errors = [], [], []
    for message in client.consume(line["poll"], line["timeout"]):
        error = message.error()
        if error is None:
            records.append(record(message))
        elif error.code() == KafkaError._PARTITION_EOF:
            ends.append([message.partition(), message.offset()])
        else:
            errors.append([message.partition(), described(error)])
    return {"records": records, "ends": ends, "errors": errors}


def consumer(config, lines):
    client = Consumer(config)
    admin = None
    while True:
        line = lines.next()
        timeout = line.get("timeout", 10)
        try:
            if "poll" in line:
                answer = poll(client, line)
            elif "assign" in line:
                client.assign([TopicPartition(line["topic"], partition, offset) for partition, offset in line["assign"]])
                answer = {"done": True}
            elif "watermarks" in line:
                low, high = client.get_watermark_offsets(TopicPartition(line["topic"], line["watermarks"]), timeout=timeout, cached=False)
                answer = {"low": low, "high": high}
            elif "time" in line:
                (found,) = client.offsets_for_times([TopicPartition(line["topic"], line["partition"], line["time"])], timeout=timeout)
                if found.error is not None:
                    raise KafkaException(found.error)
                answer = {"offset": found.offset if found.offset >= 0 else None}
            elif "leaders" in line:
                told = client.list_topics(line["leaders"], timeout=timeout)
                partitions = told.topics[line["leaders"]].partitions.values()
                answer = {"leaders": [[it.id, it.leader] for it in partitions], "controller": told.controller_id}
            elif "create" in line:
                admin = admin or AdminClient({"bootstrap.servers": config["bootstrap.servers"]})
                new = NewTopic(line["create"], num_partitions=line["partitions"], replication_factor=line["replicas"])
                try:
                    admin.create_topics([new], request_timeout=timeout)[line["create"]].result()
                except KafkaException as error:
                    # An attempt of unknown outcome may have made it.
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise
                answer = {"done": True}
            else:
                answer = {"error": f"no such request: {line}"}
        except KafkaException as error:
            answer = {"error": described(error.args[0])}
        say(answer)


def main():
    lines = Lines()
    start = lines.next()
    {"producer": producer, "consumer": consumer}[start["role"]](start["config"], lines)


try:
    main()
except BrokenPipeError:
    os._exit(1)
except BaseException:
    import traceback

    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)
