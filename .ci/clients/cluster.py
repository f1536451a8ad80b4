"""Three processes, one log: what a client sees when any of them is killed with -9.

    cluster.py PATH/TO/tidelog DIRECTORY
"""

import json
import pathlib
import shutil
import subprocess
import sys
import time

from harness import Checks, Node, expect_equal, free_port

TOPIC = "tides"


class Cluster:
    """Three brokers, and kcat to ask them."""

    def __init__(self, program, directory):
        peers = ",".join(f"{node}@127.0.0.1:{free_port()}" for node in (1, 2, 3))
        flags = lambda node: ("--node-id", str(node), "--cluster", peers)
        self.program = program
        self.nodes = {node: Node(program, directory / f"broker{node}", *flags(node)) for node in (1, 2, 3)}
        self.addresses = ",".join(node.address for node in self.nodes.values())

    def spawn(self):
        for node in self.nodes.values():
            node.process = node.spawn()

    def end(self):
        for node in self.nodes.values():
            if node.process is not None and node.process.poll() is None:
                node.kill()

    def kcat(self, *arguments, stdin=None, timeout=30):
        command = ["kcat", "-q", "-b", self.addresses, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, text=True)

    def tidelog(self, *arguments, about="topic"):
        command = [self.program, about, *arguments, "--bootstrap-server", self.addresses]
        return subprocess.run(command, capture_output=True, timeout=30, text=True)

    def leader(self):
        """The leader of the first partition that runs."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            listed = self.kcat("-L", "-J", "-t", TOPIC)
            if listed.returncode == 0:
                for topic in json.loads(listed.stdout)["topics"]:
                    for partition in topic["partitions"]:
                        leader = partition.get("leader", -1)
                        if partition["partition"] == 0 and leader in self.nodes and self.nodes[leader].process.poll() is None:
                            return leader
        raise AssertionError("no leader")

    def produce(self, line):
        """A client that is started for one record. True if it was acknowledged."""
        sent = self.kcat("-P", "-t", TOPIC, "-p", "0", "-X", "acks=all", "-X", "message.timeout.ms=20000", stdin=line)
        return sent.returncode == 0

    def lines(self):
        read = self.kcat("-C", "-e", "-t", TOPIC, "-p", "0", "-o", "beginning")
        assert read.returncode == 0, read.stderr
        return read.stdout.splitlines()


def form(cluster, seen):
    cluster.spawn()
    begin = time.monotonic()
    deadline = begin + 20
    while True:
        created = cluster.tidelog("create", TOPIC, "--partitions", "3", "--replication-factor", "3")
        if created.returncode == 0:
            break
        assert time.monotonic() < deadline, created.stderr
    seen.append(f"a topic with three replicas {time.monotonic() - begin:.2f} s after the last start")


def pause(cluster, seen):
    """How long no new record is acknowledged after the leader was killed."""
    leader = cluster.leader()
    cluster.nodes[leader].kill()
    begin = time.monotonic()
    assert cluster.produce(f"after broker {leader}\n")
    # The others elect within half a second; a fresh client may ask one too early, and asks again after a second.
    seen.append(f"{time.monotonic() - begin:.2f} s")
    cluster.nodes[leader].start()


def stream(cluster):
    """A producer that lives through the death of the leader: everything once, in order."""
    before = len(cluster.lines())
    command = ["kcat", "-q", "-b", cluster.addresses, "-P", "-t", TOPIC, "-p", "0", "-X", "linger.ms=0"]
    producer = subprocess.Popen(
        [*command, "-X", "enable.idempotence=true", "-X", "message.timeout.ms=30000"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    victim = cluster.leader()
    sent = [f"wave {number}" for number in range(150)]
    for number, line in enumerate(sent):
        if number == 50:
            cluster.nodes[victim].kill()
        print(line, file=producer.stdin, flush=True)
        time.sleep(0.02)
    producer.stdin.close()
    expect_equal(0, producer.wait(timeout=60))
    expect_equal(sent, cluster.lines()[before:])
    cluster.nodes[victim].start()


def restarted(cluster):
    """Everything outlives the death of all, and each of them ends when told."""
    before = cluster.lines()
    for node in cluster.nodes.values():
        node.kill()
    for node in cluster.nodes.values():
        node.process = node.spawn()
    for node in cluster.nodes.values():
        node.await_ready()
    assert cluster.produce("the last\n")
    expect_equal([*before, "the last"], cluster.lines())
    for node in cluster.nodes.values():
        node.is_fine()


def status(cluster):
    told = cluster.tidelog("status", "--json", about="cluster")
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)["controller"]


def until(what, condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def wiped(cluster):
    """A broker that lost its disk votes again only after it was admitted; then it can be counted on."""
    before = cluster.lines()
    victim = cluster.nodes[2]
    if victim.process.poll() is None:
        victim.kill()
    shutil.rmtree(victim.data)
    victim.process = victim.spawn()
    until("it asks", lambda: any(member["node"] == 2 and member["asks"] for member in status(cluster)))
    assert "listens on" not in (victim.directory / "stdout").read_text(), "an empty disk is not ready"
    admitted = cluster.tidelog("admit", "2", about="cluster")
    assert admitted.returncode == 0, admitted.stderr
    victim.await_ready()
    until("it is level", lambda: cluster.produce("admitted\n"))
    # With one of the others gone, nothing can be written or read without it.
    cluster.nodes[3].kill()
    until("the two elect leaders", lambda: cluster.produce("counted on\n"))
    lines = cluster.lines()
    expect_equal(before, lines[: len(before)])
    assert "counted on" in lines, lines[-5:]
    cluster.nodes[3].start()


def damaged(cluster):
    """Bits flip in an old segment of a follower, and another vanishes: it heals by itself; then it can be counted on."""
    topic = "spoilt"
    segments = lambda node: {path for path in node.data.glob("segment-*")}
    before = {number: segments(node) for number, node in cluster.nodes.items()}
    options = ("--partitions", "1", "--replication-factor", "3", "--config", "segment.bytes=8388608")
    created = cluster.tidelog("create", topic, *options)
    assert created.returncode == 0, created.stderr
    sent = []
    for first in range(0, 40_000, 10_000):
        lines = [f"{number:07} " + "x" * 4000 for number in range(first, first + 10_000)]
        produced = cluster.kcat("-P", "-t", topic, "-X", "acks=all", stdin="\n".join(lines) + "\n", timeout=120)
        assert produced.returncode == 0, produced.stderr
        sent += lines
    # What a checkpoint names is in files alone.
    until("all make a checkpoint", lambda: all(any(node.data.glob("state-*")) for node in cluster.nodes.values()))
    listed = json.loads(cluster.kcat("-L", "-J", "-t", topic).stdout)
    leader = listed["topics"][0]["partitions"][0]["leader"]
    victim_number = next(number for number in cluster.nodes if number != leader)
    victim = cluster.nodes[victim_number]
    victim.kill()
    flipped, removed = sorted(segments(victim) - before[victim_number])[:2]
    with open(flipped, "r+b") as file:
        file.seek(3_000_000)
        byte = file.read(1)
        file.seek(3_000_000)
        file.write(bytes([byte[0] ^ 0x20]))
    removed.unlink()
    victim.start()
    until("both are found and healed", lambda: victim.log().count(f"has healed {topic}-0") == 2)
    third = next(number for number in cluster.nodes if number not in (leader, victim_number))
    for other in (leader, third):
        # With one of the others gone, what it answers and acknowledges counts.
        cluster.nodes[other].kill()
        until("the two elect a leader", lambda: cluster.produce("after the damage\n"))
        read = cluster.kcat("-C", "-e", "-t", topic, "-p", "0", "-o", "beginning", timeout=120)
        assert read.returncode == 0, read.stderr
        expect_equal(True, sent == read.stdout.splitlines())
        cluster.nodes[other].start()


def forgotten(cluster):
    """A broker whose journal was cut off does not go on as if it had never voted: it is other replicas, and can be counted on."""
    before = cluster.lines()
    victim = cluster.nodes[2]
    victim.process.terminate()
    expect_equal(0, victim.process.wait(timeout=20))
    journals = sorted(victim.data.glob("journal-*"))
    newest = max(journals, key=lambda path: path.stat().st_mtime)
    with open(newest, "r+b") as file:
        file.truncate(newest.stat().st_size // 2)
    victim.start()
    assert "is another replica of" in victim.log(), victim.log()[-2000:]
    for other in (1, 3):
        cluster.nodes[other].kill()
        until("the two elect leaders", lambda: cluster.produce("counted on\n"))
        expect_equal(before, cluster.lines()[: len(before)])
        cluster.nodes[other].start()


def majority_lost(cluster):
    """Two empty disks of three: nothing is decided, nothing is made up, and whoever wants to admit one is told at once."""
    for victim in (2, 3):
        shutil.rmtree(cluster.nodes[victim].data)
    cluster.spawn()
    until("both ask", lambda: sum(member["asks"] for member in status(cluster)) == 2)
    admitted = cluster.tidelog("admit", "2", about="cluster")
    expect_equal(1, admitted.returncode)
    assert "bring a former data directory back" in admitted.stderr, admitted.stderr
    for node in cluster.nodes.values():
        node.is_fine()
        assert "listens on" not in (node.directory / "stdout").read_text(), "no majority is not ready"


def main():
    checks = Checks()
    cluster = Cluster(sys.argv[1], pathlib.Path(sys.argv[2]) / "cluster")
    try:
        with checks.check("cluster: three processes form one") as seen:
            form(cluster, seen)
        with checks.check("cluster: kcat -P through kill -9 of the leader, every line once and in order"):
            stream(cluster)
        with checks.check("cluster: acks=all goes on after kill -9 of the leader, five times") as seen:
            for _ in range(5):
                pause(cluster, seen)
        with checks.check("cluster: nothing is lost when all are killed with -9"):
            restarted(cluster)
        with checks.check("cluster: a follower with damaged segments heals by itself"):
            damaged(cluster)
        with checks.check("cluster: a broker whose journal was cut off becomes other replicas, and counts"):
            forgotten(cluster)
        with checks.check("cluster: a broker whose disk was wiped waits, is admitted, and counts again"):
            wiped(cluster)
        with checks.check("cluster: SIGTERM ends each with exit code 0, and no error was logged"):
            for node in cluster.nodes.values():
                node.is_fine()
                node.process.terminate()
            for node in cluster.nodes.values():
                expect_equal(0, node.process.wait(timeout=20))
        with checks.check("cluster: two empty disks of three are waited for, not replaced"):
            majority_lost(cluster)
    finally:
        cluster.end()
    sys.exit(1 if checks.failed else 0)


main()
