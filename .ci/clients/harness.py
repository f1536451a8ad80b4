"""A node that is started, killed and started again, and checks that are counted: a line for each."""

import contextlib
import pathlib
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
import traceback

# A part that is told to stop stops its nodes.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def free_port():
    """A port that no outgoing connection is given: a client that tries again and again while its node is down could otherwise be
    given the node's own port, and talk to itself."""
    while True:
        with socket.socket() as it:
            try:
                port = random.randrange(15000, 32000)
                it.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Node:
    """A node process with its own data directory and port; both stay the same when it is started again."""

    def __init__(self, program, directory, *flags):
        self.program = program
        self.flags = flags
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True)
        self.data = self.directory / "data"
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.process = None

    def spawn(self):
        """Starts the process and waits for nothing."""
        with open(self.directory / "stdout", "wb") as out, open(self.directory / "log", "ab") as log:
            command = [self.program, "node", "--data-dir", self.data, "--listen", self.address, *self.flags]
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log)

    def start(self):
        self.process = self.spawn()
        self.await_ready()

    def await_ready(self):
        """Waits until it greets, which it does once it serves."""
        for _ in range(600):
            if "listens on" in (self.directory / "stdout").read_text():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"the node did not start: {self.log()[-500:]}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def kill_and_restart(self):
        self.kill()
        self.start()

    def log(self):
        return (self.directory / "log").read_text()

    def is_fine(self):
        """Asserts that it runs and logged no error."""
        assert self.process.poll() is None, f"the node ended with {self.process.returncode}: {self.log()[-500:]}"
        bad = [line for line in self.log().splitlines() if " ERROR " in line or "panicked" in line]
        assert not bad, bad[:5]

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


@contextlib.contextmanager
def running(program, directory):
    """A node that does not outlive the block."""
    node = Node(program, directory)
    try:
        node.start()
        yield node
    finally:
        if node.process is not None and node.process.poll() is None:
            node.kill()


class Checks:
    """What passed and what failed."""

    def __init__(self):
        self.failed = 0

    @contextlib.contextmanager
    def check(self, what):
        """A check is a block; it may add to what it says about itself by appending to the list that it is given."""
        seen = []
        try:
            yield seen
        except Exception:
            self.failed += 1
            print(f"FAILED: {what}", flush=True)
            print(textwrap.indent(traceback.format_exc(limit=-3)[-2000:], "    "), file=sys.stderr, end="", flush=True)
        else:
            note = f" ({'; '.join(seen)})" if seen else ""
            print(f"ok: {what}{note}", flush=True)


def expect_equal(expected, got):
    assert expected == got, f"\nexpected: {str(expected)[:500]}\n     got: {str(got)[:500]}"
