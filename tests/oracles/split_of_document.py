"""The splits that tests/router/learning_test.cc pins, computed from the published definitions.

FNV-1a, 64 bits (Fowler, Noll and Vo), of the id's UTF-8 bytes; that as the seed of SplitMix64
(Steele, Lea and Flood, 2014); its first output modulo 10: 0 to 7 train, 8 dev, 9 test.

    python tests/oracles/split_of_document.py
"""

MASK = (1 << 64) - 1
IDS = (
    "",
    "d0",
    "doc-17",
    "Grüße",
    "日本",
    "law-5",
    "law-11",
    "nature-5",
    "nature-33",
    "music-3",
)


def fnv_1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def first_of_splitmix64(seed: int) -> int:
    z = (seed + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def split(document_id: str) -> str:
    tenth = first_of_splitmix64(fnv_1a(document_id.encode())) % 10
    return "train" if tenth < 8 else ("dev", "test")[tenth - 8]


if __name__ == "__main__":
    # Vectors that others published for either function.
    assert fnv_1a(b"a") == 0xAF63DC4C8601EC8C
    assert fnv_1a(b"foobar") == 0x85944171F73967E8
    assert first_of_splitmix64(1234567) == 6457827717110365317
    for document_id in IDS:
        print(f"{document_id!r}: {split(document_id)}")
