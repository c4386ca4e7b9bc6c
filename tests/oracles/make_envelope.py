"""Writes tests/data/envelope-v1.bin: the file envelope of version 1 as docs/formats.md has it,
written by Python and its own xxhash. It must load for ever: do not regenerate, add a version.

Needs: xxhash. Run from the repository root: python tests/oracles/make_envelope.py
"""

import struct
from pathlib import Path

import xxhash

DATA = Path(__file__).parent.parent / "data"


def envelope(kind: bytes, kind_version: int, payload: bytes) -> bytes:
    head = struct.pack("<8sI8sIQ", b"CLGMFILE", 1, kind, kind_version, len(payload))
    return (
        head
        + struct.pack("<Q", xxhash.xxh3_64_intdigest(head))
        + payload
        + struct.pack("<Q", xxhash.xxh3_64_intdigest(payload))
    )


def main() -> None:
    payload = bytes(i * 7 % 256 for i in range(300))
    (DATA / "envelope-v1.bin").write_bytes(envelope(b"specimen", 3, payload))
    for text in (b"", b"collegium", payload):
        print(len(text), xxhash.xxh3_128_hexdigest(text))


if __name__ == "__main__":
    main()
