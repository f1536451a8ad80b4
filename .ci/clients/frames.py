#!/usr/bin/env python3
"""Damaged compressed batches: what one client library refuses, the broker refuses.

    frames.py --ours PROGRAM --java "java -cp ... Frames" [--count N] [--seed S]

Makes N batches for each codec, most of them damaged (bits, cuts, insertions, bytes behind the end, checksums, frames glued together),
under a right CRC, and asks Java's record classes, kafka-python's, and the libraries that librdkafka is built on (zlib, LZ4, zstd,
snappy, used as it uses them) whether they can be read. Prints how many each refuses. Fails if ours takes one that any of them
refuses, or refuses one that nobody damaged.
"""
import argparse, gzip, io, random, shlex, struct, subprocess, sys, zlib

import cramjam, lz4.block, lz4.frame, zstandard
from kafka.record import MemoryRecords

TABLE = []
for i in range(256):
    for _ in range(8):
        i = (i >> 1) ^ 0x82F63B78 if i & 1 else i >> 1
    TABLE.append(i)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def varint(n):
    n = (n << 1) ^ (n >> 63)
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def records(rng):
    count, out = rng.randint(1, 6), b""
    for at in range(count):
        kind = rng.random()
        size = rng.choice([3, 40, 400, 9000]) if kind < 0.9 else 70000
        value = rng.randbytes(size) if rng.random() < 0.4 else (rng.randbytes(7) * (size // 7 + 1))[:size]
        body = b"\0" + varint(at) + varint(at) + varint(-1) + varint(len(value)) + value + varint(0)
        out += varint(len(body)) + body
    return count, out


def batch(codec, count, payload):
    rest = struct.pack(">hiqqqhii", codec, count - 1, 1000, 1000 + count - 1, -1, -1, -1, count) + payload
    return struct.pack(">qiibI", 0, len(rest) + 9, 0, 2, crc32c(rest)) + rest


def xerial(data, rng):
    out, step = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01", rng.choice([300, 32768])
    for at in range(0, len(data), step):
        block = bytes(cramjam.snappy.compress_raw(data[at:at + step]))
        out += struct.pack(">i", len(block)) + block
    return out


def lz4_frame(data, rng):
    return lz4.frame.compress(
        data, block_size=rng.choice([4, 5, 7]), block_linked=rng.random() < 0.1, content_checksum=rng.random() < 0.5,
        block_checksum=rng.random() < 0.5, store_size=rng.random() < 0.3)


def zstd_frame(data, rng):
    parameters = dict(level=rng.choice([1, 3, 19]), write_checksum=rng.random() < 0.5, write_content_size=True)
    return zstandard.ZstdCompressor(**parameters).compress(data)


ENCODERS = {
    1: lambda data, rng: gzip.compress(data, rng.choice([1, 6, 9])),
    2: lambda data, rng: xerial(data, rng) if rng.random() < 0.6 else bytes(cramjam.snappy.compress_raw(data)),
    3: lz4_frame,
    4: zstd_frame,
}


def damage(payload, codec, rng):
    payload = bytearray(payload)
    kind = rng.randrange(8)
    near = lambda: rng.randrange(min(len(payload), 24)) if rng.random() < 0.6 else rng.randrange(len(payload))
    if kind == 0:
        payload[near()] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del payload[len(payload) - rng.randint(1, min(len(payload), 12)):]
    elif kind == 2:
        payload += rng.choice([b"\0", b"\0\0\0\0", rng.randbytes(9), b"\x50\x2a\x4d\x18\x02\0\0\0ab"])
    elif kind == 3:
        payload[near()] = rng.randrange(256)
    elif kind == 4:
        at = len(payload) - rng.randint(1, min(len(payload), 9))
        payload[at] ^= 1 << rng.randrange(8)
    elif kind == 5:
        payload += ENCODERS[codec](rng.choice([b"", b"more"]), rng)
    elif kind == 6:
        at = near()
        del payload[at:at + rng.randint(1, 3)]
    else:
        at = near()
        payload[at:at] = rng.randbytes(rng.randint(1, 3))
    return bytes(payload)


def c_libraries(codec, payload, expected_count):
    """As librdkafka uses them."""
    if codec == 1:
        inflate = zlib.decompressobj(15 + 32)
        data = inflate.decompress(payload)
        if not inflate.eof:
            raise ValueError("gzip ends early")
    elif codec == 2:
        if payload[:8] == b"\x82SNAPPY\0" and len(payload) > 16:
            data, at = b"", 16
            while at < len(payload):
                size = struct.unpack_from(">I", payload, at)[0]
                if at + 4 + size > len(payload):
                    raise ValueError("a block ends early")
                data += bytes(cramjam.snappy.decompress_raw(payload[at + 4:at + 4 + size]))
                at += 4 + size
        else:
            data = bytes(cramjam.snappy.decompress_raw(payload))
    elif codec == 3:
        data, read = lz4.frame.decompress(payload, return_bytes_read=True)
        if read != len(payload):
            raise ValueError("bytes behind the frame")
    else:
        data, rest = b"", payload
        while rest:
            decoder = zstandard.ZstdDecompressor().decompressobj()
            data += decoder.decompress(rest)
            if not decoder.eof:
                raise ValueError("zstd ends early")
            rest = decoder.unused_data
    # Every record is there, and nothing behind them.
    at = 0
    for _ in range(expected_count):
        size, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        size = (size >> 1) ^ -(size & 1)
        at += size
        if size < 0 or at > len(data):
            raise ValueError("a record ends early")


def python_client(whole, count):
    found = MemoryRecords(whole)
    one = found.next_batch()
    if one is None or not one.validate_crc():
        raise ValueError("no batch")
    if sum(1 for _ in one) != count:
        raise ValueError("records are missing")


def refuses(call, *arguments):
    try:
        call(*arguments)
        return None
    except BaseException as error:  # a panic of a library is a refusal, too
        return f"{type(error).__name__}: {error}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ours", required=True)
    parser.add_argument("--java", required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    frames = []
    for codec in ENCODERS:
        for _ in range(options.count):
            count, data = records(rng)
            payload = ENCODERS[codec](data, rng)
            # Java reads no linked blocks: those are damage enough.
            whole = rng.random() < 0.1 and not (codec == 3 and not payload[4] & 0x20)
            if not whole:
                payload = damage(payload, codec, rng)
            frames.append((codec, count, payload, batch(codec, count, payload), whole))
    text = b"".join(struct.pack(">I", len(frame[3])) + frame[3] for frame in frames)

    def program(command):
        answer = subprocess.run(shlex.split(command), input=text, stdout=subprocess.PIPE, check=True).stdout
        lines = answer.decode(errors="replace").splitlines()
        assert len(lines) == len(frames), f"{command} answered {len(lines)} of {len(frames)}"
        return [None if line == "ok" else line for line in lines]

    judges = {
        "java": program(options.java),
        "kafka-python": [refuses(python_client, frame[3], frame[1]) for frame in frames],
        "C libraries": [refuses(c_libraries, frame[0], frame[2], frame[1]) for frame in frames],
    }
    ours = program(options.ours)
    bad = 0
    for name, verdicts in judges.items():
        taken = [at for at, verdict in enumerate(verdicts) if verdict and not ours[at]]
        print(f"{name}: refuses {sum(map(bool, verdicts))} of {len(frames)}; of these we take {len(taken)}")
        for at in taken[:5]:
            print(f"  codec {frames[at][0]}, {frames[at][2][:40].hex()}...{frames[at][2][-12:].hex()} ({len(frames[at][2])} bytes): {verdicts[at][:150]}")
        bad += len(taken)
    false = [at for at, frame in enumerate(frames) if ours[at] and frame[4]]
    only = sum(1 for at in range(len(frames)) if ours[at] and not any(verdicts[at] for verdicts in judges.values()))
    print(f"ours: refuses {sum(map(bool, ours))} of {len(frames)}; {only} that all of them read; {len(false)} that nobody damaged")
    for at in false[:5]:
        print(f"  codec {frames[at][0]}, {frames[at][2][:40].hex()}: {ours[at]}, {[verdicts[at] for verdicts in judges.values()]}")
    sys.exit(1 if bad or false else 0)


main()
