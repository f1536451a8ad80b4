"""How a node ends: told by a signal, killed, or refused its data directory.

    stop.py PATH/TO/tidelog DIRECTORY
"""

import pathlib
import signal
import sys

from harness import Checks, Node, expect_equal, running


def main():
    program, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    checks = Checks()
    with running(program, directory / "stop") as node:
        with checks.check("stop: a second node on the same data directory exits with 1 and one sentence"):
            second = Node(program, directory / "second")
            second.data = node.data
            process = second.spawn()
            try:
                expect_equal(1, process.wait(timeout=20))
            finally:
                process.kill()
                process.wait()
            said = second.log().strip()
            assert said and "\n" not in said and str(node.data) in said, said
            node.is_fine()
        with checks.check("stop: a node on a port that is taken exits with 1 and one sentence"):
            other = Node(program, directory / "third")
            other.address = node.address
            process = other.spawn()
            try:
                expect_equal(1, process.wait(timeout=20))
            finally:
                process.kill()
                process.wait()
            said = other.log().strip()
            assert said and "\n" not in said and node.address in said, said
            assert not other.data.exists(), "it touched its data directory"
        for name in ("SIGTERM", "SIGINT"):
            with checks.check(f"stop: {name} ends it with exit code 0, also with connections open"):
                idle = node.connect()
                node.process.send_signal(getattr(signal, name))
                expect_equal(0, node.process.wait(timeout=20))
                expect_equal(b"", idle.recv(1))
                node.start()
        with checks.check("stop: kill -9 and start, ten times in a row"):
            for _ in range(10):
                node.kill_and_restart()
            node.is_fine()
    sys.exit(1 if checks.failed else 0)


main()
