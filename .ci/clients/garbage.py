"""Bytes that no client would send: the node stays alive, keeps answering others, and takes no memory for what is not there.

    garbage.py PATH/TO/tidelog DIRECTORY
"""

import pathlib
import random
import struct
import sys

from harness import Checks, expect_equal, running

API_VERSIONS = 18
UNSUPPORTED_VERSION = 35
SEED = 20240607
MEMORY_KIB_MAX = 512 * 1024


def header(key, version, correlation, flexible=False):
    client = b"garbage"
    text = struct.pack(">hhih", key, version, correlation, len(client)) + client
    return text + b"\0" if flexible else text


def framed(payload):
    return struct.pack(">i", len(payload)) + payload


def receive(connection, count):
    """So many bytes, or fewer if the other side closed."""
    got = b""
    while len(got) < count:
        try:
            more = connection.recv(count - len(got))
        except ConnectionError:
            break
        if not more:
            break
        got += more
    return got


def answer(connection):
    """The next answer, without its length, or None if the connection is closed."""
    size = receive(connection, 4)
    if len(size) < 4:
        return None
    (size,) = struct.unpack(">i", size)
    payload = receive(connection, size)
    return payload if len(payload) == size else None


def api_versions(node, version=0):
    """Asks on a connection of its own; gives (error code, {key: (lowest, highest)}) as version 0 tells it."""
    with node.connect() as connection:
        body = b"\x08garbage\x021\0" if version >= 3 else b""
        connection.sendall(framed(header(API_VERSIONS, version, 7, flexible=version >= 3) + body))
        payload = answer(connection)
    assert payload is not None, "no answer to ApiVersions"
    correlation, error, count = struct.unpack_from(">ihi", payload)
    expect_equal(7, correlation)
    expect_equal(10 + 6 * count, len(payload))
    rows = [struct.unpack_from(">hhh", payload, 10 + 6 * row) for row in range(count)]
    return error, {key: (lowest, highest) for key, lowest, highest in rows}


def answers(node):
    """Asserts that the node is fine and serves others."""
    node.is_fine()
    error, apis = api_versions(node)
    expect_equal(0, error)
    assert API_VERSIONS in apis, apis


def sent(node, payload, finish=False):
    """Sends, and gives what comes until the node closes or has nothing to say."""
    with node.connect() as connection:
        connection.settimeout(0.2)
        try:
            connection.sendall(payload)
            if finish:
                connection.shutdown(1)
            return connection.recv(1 << 16)
        except ConnectionError:
            return b""
        except TimeoutError:
            return None


def closed(node, payload):
    """Asserts that the node closes on these bytes, without waiting for more."""
    with node.connect() as connection:
        try:
            connection.sendall(payload)
        except ConnectionError:
            return
        expect_equal(b"", receive(connection, 1))


def main():
    program, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    draw = random.Random(SEED)
    checks = Checks()
    with running(program, directory / "garbage") as node:
        with checks.check("garbage: ApiVersions v99 is answered in v0 with error 35 and what is supported"):
            error, apis = api_versions(node, version=99)
            expect_equal(UNSUPPORTED_VERSION, error)
            assert apis[API_VERSIONS][1] >= 3, apis
        _, apis = api_versions(node)
        with checks.check("garbage: bytes after the end of a request are ignored, as Apache Kafka does"):
            with node.connect() as connection:
                connection.sendall(framed(header(3, 1, 5) + struct.pack(">i", -1) + b"\x01\x02\x03") * 2)
                expect_equal([5, 5], [struct.unpack_from(">i", answer(connection) or b"\0" * 4)[0] for _ in range(2)])
        with checks.check("garbage: random bytes"):
            for _ in range(200):
                sent(node, draw.randbytes(draw.randrange(1, 2000)), finish=True)
            answers(node)
        with checks.check("garbage: lengths that are negative, oversized or too small close the connection"):
            for size in (0x7FFFFFFF, 0x7FFFFFFE, 0x40000000, -1, -2, -0x80000000, 0, 1, 7):
                closed(node, struct.pack(">i", size) + b"\0" * max(0, min(size, 64)))
            answers(node)
        with checks.check("garbage: API keys that do not exist close the connection"):
            for key in (-1, -0x8000, 0x7FFF, 999, 4, 5, 6, 7):
                closed(node, framed(header(key, 0, 1)))
            answers(node)
        with checks.check("garbage: versions that are not supported close the connection"):
            for key, (lowest, highest) in apis.items():
                for version in (lowest - 1, highest + 1, 99, -1, 0x7FFF, -0x8000):
                    if key != API_VERSIONS:
                        closed(node, framed(header(key, version, 1) + b"\0" * 16))
            answers(node)
        with checks.check("garbage: frames cut short, with others served while they hang"):
            hanging = [node.connect() for _ in range(50)]
            for index, connection in enumerate(hanging):
                whole = framed(header(3, 1, 1) + struct.pack(">i", -1))
                connection.sendall(whole[: 1 + index % (len(whole) - 1)])
            answers(node)
            for connection in hanging:
                connection.close()
            answers(node)
        with checks.check("garbage: every API and version with random bodies"):
            for key, (lowest, highest) in apis.items():
                for version in range(lowest, highest + 1):
                    with node.connect() as connection:
                        connection.settimeout(0.05)
                        try:
                            for _ in range(5):
                                body = draw.randbytes(draw.randrange(200))
                                connection.sendall(framed(header(key, version, 1, draw.random() < 0.7) + body))
                            connection.recv(1 << 16)
                        except (TimeoutError, ConnectionError):
                            pass
            answers(node)
        with checks.check("garbage: counts and lengths beyond the frame, in every API and version"):
            for key, (lowest, highest) in apis.items():
                for version in range(lowest, highest + 1):
                    for huge in (b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"\x80\0\0\0", b"\x7f\xff"):
                        for pad in (0, 2, 8, 17):
                            for flexible in (False, True):
                                with node.connect() as connection:
                                    connection.sendall(framed(header(key, version, 1, flexible) + b"\0" * pad + huge * 4))
            answers(node)
        with checks.check("garbage: the node took little memory for all that") as seen:
            text = pathlib.Path(f"/proc/{node.process.pid}/status").read_text()
            (peak,) = (int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM:"))
            assert peak < MEMORY_KIB_MAX, f"{peak} KiB"
            seen.append(f"at most {peak // 1024} MiB")
        with checks.check("garbage: it starts again from what it has"):
            node.kill_and_restart()
            answers(node)
    sys.exit(1 if checks.failed else 0)


main()
