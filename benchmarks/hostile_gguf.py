"""Damage to GGUF files with knowledge of the format, for hostile_files.py (see hostile_mutations.py)."""

from __future__ import annotations

import dataclasses
import random
import struct
from typing import Any

from hostile_mutations import EXTREMES, blind, odd_text

ALIGNMENT = 32
STRING, ARRAY = 8, 9
CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
FLOATS = (6, 12)
SPECIAL = [float("nan"), float("inf"), -float("inf"), 3e38, 1e-40, 0.0, -0.0, -1.0, 0.5, 1e9]


@dataclasses.dataclass
class Entry:
    """Of the metadata. An array's value is (kind of its elements, elements)."""

    key: bytes
    kind: int
    value: Any


@dataclasses.dataclass
class Tensor:
    name: bytes
    shape: list[int]
    type: int
    offset: int


@dataclasses.dataclass
class File:
    version: int
    entries: list[Entry]
    tensors: list[Tensor]
    data: bytearray


class Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def number(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def text(self) -> bytes:
        size = self.number("Q")
        self.at += size
        return self.data[self.at - size : self.at]

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            inner, count = self.number("I"), self.number("Q")
            return inner, [self.value(inner) for _ in range(count)]
        return self.number(CODES[kind])


def read(data: bytes) -> File:
    version, tensors, entries = struct.unpack_from("<IQQ", data, 4)
    reader = Reader(data, 24)
    file = File(version, [], [], bytearray())
    for _ in range(entries):
        key, kind = reader.text(), reader.number("I")
        file.entries.append(Entry(key, kind, reader.value(kind)))
    for _ in range(tensors):
        name = reader.text()
        shape = [reader.number("Q") for _ in range(reader.number("I"))]
        file.tensors.append(Tensor(name, shape, reader.number("I"), reader.number("Q")))
    file.data = bytearray(data[-(-reader.at // ALIGNMENT) * ALIGNMENT :])
    return file


def number_bytes(kind: int, value: Any) -> bytes:
    """`value` as near as the kind has it."""
    code = CODES.get(kind, "I")
    if kind in FLOATS:
        try:
            return struct.pack(f"<{code}", float(value))
        except OverflowError:
            return struct.pack(f"<{code}", float("inf"))
    whole = int(value) if value == value and abs(value) != float("inf") else 0
    size = struct.calcsize("<" + code)
    return int(whole % 2 ** (8 * size)).to_bytes(size, "little")


def text_bytes(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def value_bytes(kind: int, value: Any) -> bytes:
    """Of a value whose type may not be the kind's."""
    if kind == ARRAY:
        inner, elements = value if isinstance(value, tuple) else (4, [value])
        parts = [value_bytes(inner, element) for element in elements]
        return struct.pack("<IQ", inner & (2**32 - 1), len(parts)) + b"".join(parts)
    if isinstance(value, tuple):
        value = value[1][0] if value[1] else 0
    if kind == STRING:
        return text_bytes(value if isinstance(value, bytes) else str(value).encode())
    if isinstance(value, bytes):
        value = len(value)
    return number_bytes(kind, value)


def write(file: File, more_tensors: int = 0, more_entries: int = 0, padding: int = 0) -> bytes:
    counts = (len(file.tensors) + more_tensors, len(file.entries) + more_entries)
    head = b"GGUF" + struct.pack("<I", file.version & (2**32 - 1))
    parts = [head, *(struct.pack("<Q", count & (2**64 - 1)) for count in counts)]
    for entry in file.entries:
        kind = struct.pack("<I", entry.kind & (2**32 - 1))
        parts += [text_bytes(entry.key), kind, value_bytes(entry.kind, entry.value)]
    for tensor in file.tensors:
        lengths = [struct.pack("<Q", length & (2**64 - 1)) for length in tensor.shape]
        parts += [text_bytes(tensor.name), struct.pack("<I", len(lengths)), *lengths]
        offset = tensor.offset & (2**64 - 1)
        parts.append(struct.pack("<IQ", tensor.type & (2**32 - 1), offset))
    out = b"".join(parts)
    return out + bytes(max(0, -len(out) % ALIGNMENT + padding)) + bytes(file.data)


def odd_number(rng: random.Random, old: Any) -> Any:
    if isinstance(old, float):
        return rng.choice([old * 2, -old, old * 1000, *SPECIAL])
    near = [old + 1, old - 1, old * 2, old // 2, old + 32, -old]
    return rng.choice([*near, *near, *range(5), *EXTREMES])


def odd_bytes(rng: random.Random, old: bytes) -> bytes:
    cut = rng.randrange(len(old) + 1)
    text = odd_text(rng).encode("utf-8", "surrogatepass")
    return rng.choice(
        [old[:cut], old[cut:], old + old, old + text, text, b"\xff", b"\xc3", old[:1]]
    )


def odd_element(rng: random.Random, old: Any) -> Any:
    return odd_bytes(rng, old) if isinstance(old, bytes) else odd_number(rng, old)


def odd_array(rng: random.Random, value: tuple[int, list[Any]]) -> tuple[int, list[Any]]:
    inner, elements = value
    made = list(elements)
    if not made:
        return inner, [0] * rng.choice([1, 1000])
    at, other = rng.randrange(len(made)), rng.randrange(len(made))
    match rng.randrange(8):
        case 0:
            return inner, made[: at if rng.random() < 0.5 else -1]
        case 1:
            return inner, made + made[: rng.choice([1, at, len(made)])]
        case 2:
            return rng.choice([*CODES, STRING, ARRAY, 13, 2**31]), made
        case 3:
            made[at] = made[other]
        case 4:
            made[at], made[other] = made[other], made[at]
        case 5:
            return inner, [made[at]] * len(made)
        case _:
            for _ in range(rng.choice([1, 1, 20])):
                at = rng.randrange(len(made))
                made[at] = odd_element(rng, made[at])
    return inner, made


def edit_entry(rng: random.Random, file: File) -> None:
    if not file.entries:
        return
    # Numbers and texts are what says how the rest is read; arrays are the tokenizer's.
    scalars = [entry for entry in file.entries if entry.kind != ARRAY]
    entry = rng.choice(scalars if scalars and rng.random() < 0.7 else file.entries)
    match rng.randrange(14):
        case 0:
            file.entries.remove(entry)
        case 1:  # twice
            file.entries.append(dataclasses.replace(entry))
        case 2:
            other = rng.choice(file.entries).key
            cut = entry.key.partition(b".")[2]
            entry.key = rng.choice(
                [other, entry.key + b"_", b"llama." + cut, b"", b"\xff" * 70_000]
            )
        case 3:
            entry.kind = rng.choice([*CODES, STRING, ARRAY, 13, 2**31])
        case 4:
            more = [b"general.alignment", b"split.count", b"tokenizer.ggml.add_bos_token"]
            more += [b"tokenizer.ggml.unknown_token_id", b"tokenizer.ggml.add_space_prefix"]
            value = rng.choice([0, 1, 2, 8, 64, 3, 2**31])
            file.entries.append(Entry(rng.choice(more), rng.choice([4, 7, 4]), value))
        case _ if entry.kind == ARRAY:
            entry.value = odd_array(rng, entry.value)
        case _:
            if isinstance(entry.value, tuple):  # an array whose kind was changed
                return
            entry.value = odd_element(rng, entry.value)


def edit_tensor(rng: random.Random, file: File) -> None:
    if not file.tensors:
        return
    tensor, other = rng.choice(file.tensors), rng.choice(file.tensors)
    match rng.randrange(8):
        case 0:
            file.tensors.remove(tensor)
        case 1:
            file.tensors.append(dataclasses.replace(tensor))
        case 2:
            tensor.name, other.name = other.name, tensor.name
        case 3:
            tail = tensor.name.rpartition(b".")[0]
            tensor.name = rng.choice([tensor.name + b"s", tail + b".bias", b"", b"blk.9999.x"])
        case 4:
            tensor.type = rng.choice([*range(42), *EXTREMES])
        case 5:
            near = [tensor.offset + step for step in (1, -1, 32, -32, 2**20)]
            tensor.offset = rng.choice([*near, other.offset, *EXTREMES])
        case _:  # as many numbers otherwise laid out, or other numbers
            shape = tensor.shape or [1]
            count = 1
            for length in shape:
                count *= length
            flat = [[count], [count, 1], [1, count], shape[::-1], [*shape, 1], [2**32, 2**32]]
            at = rng.randrange(len(shape))
            odd = [*shape[:at], odd_number(rng, shape[at]), *shape[at + 1 :]]
            tensor.shape = rng.choice([*flat, odd, odd, odd, [], [count, 0], shape * 2, shape * 9])


def edit_data(rng: random.Random, file: File) -> None:
    """Numbers, of which there are those of half precision too, that are none or extreme."""
    if len(file.data) < 4:
        return
    if rng.random() < 0.2:
        file.data = file.data[: rng.randrange(len(file.data))]
        return
    words = [b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f", b"\xff\xff\x7f\x7f", b"\x01\x00\x00\x00"]
    halves = [b"\x00\x7c", b"\x00\xfc", b"\x00\x7e", b"\xff\x7b", b"\x01\x00"]
    for _ in range(rng.choice([1, 100, 5000])):
        bad = rng.choice([*words, *halves])
        at = rng.randrange(len(file.data) // 2 - 1) * 2
        file.data[at : at + len(bad)] = bad


def gguf(rng: random.Random, good: bytes) -> bytes:
    file = read(good)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        edit = rng.choices([edit_entry, edit_tensor, edit_data], [5, 4, 1])[0]
        edit(rng, file)
    odd = [0] * 30 + [1, -1, 2**31, 2**40, 2**62, -(2**40)]
    if rng.random() < 0.02:
        file.version = rng.choice([0, 1, 2, 4, 0x03000000, *EXTREMES])
    bad = write(file, rng.choice(odd), rng.choice(odd), rng.choice([0] * 30 + [1, 32, -1]))
    # What is blind here goes through all that the edits made.
    return blind(rng, bad) if rng.random() < 0.05 else bad
