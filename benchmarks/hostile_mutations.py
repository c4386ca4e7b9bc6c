"""Damage to files, for hostile_files.py: blind (cut, flipped, moved bytes) and with knowledge of
the format, so that what checks the outside of a file lets it through to what is behind.

Every function takes a seeded generator, and gives the same for the same seed.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import random
import struct
from collections.abc import Callable
from typing import Any

Mutate = Callable[[random.Random, bytes], bytes]

EXTREMES = [0, 1, 2, 0x7F, 0x80, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]
EXTREMES += [2**32, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]
ENVELOPE = 40  # bytes before the payload


def blind(rng: random.Random, good: bytes) -> bytes:
    """Needs to know nothing of the file."""
    bad = bytearray(good)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        size = len(bad)
        # What is at the front of a file is the more interesting.
        at = rng.randrange(rng.choice([size, min(size, 512), min(size, 64)])) if size else 0
        some = rng.choice([1, 2, 4, 8, 64, 1024])
        match rng.randrange(7):
            case 0:
                del bad[at:]
            case 1:
                for _ in range(some if size else 0):
                    bad[rng.randrange(size)] ^= 1 << rng.randrange(8)
            case 2:
                bad[at : at + some] = rng.randbytes(some)
            case 3:
                bad[at : at + some] = bytes([rng.choice([0, 1, 0x7F, 0x80, 0xFF])]) * some
            case 4:
                del bad[at : at + some]
            case 5:
                bad[at:at] = bad[at : at + some] * rng.choice([1, 2, 50])
            case _:
                other = rng.randrange(size) if size else 0
                bad[at : at + some] = bad[other : other + some]
    return bytes(bad)


# JSON.


class Twice(dict[str, Any]):
    """An object that is written with its first key twice."""


def walk(rng: random.Random, value: Any) -> list[Any]:
    """The way to a random place: at each object or array any child is as likely."""
    way: list[Any] = []
    while isinstance(value, (dict, list)) and value and (not way or rng.random() < 0.85):
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        way.append(key)
        value = value[key]
    return way


def at_way(root: Any, way: list[Any]) -> Any:
    for key in way:
        root = root[key]
    return root


def odd_text(rng: random.Random) -> str:
    texts = ["", "\0", " ", "\ufeff", "\U0010ffff", "\ud800", "a" * 70_000, "##", "[UNK]", "\u2581"]
    return rng.choice(texts)


def odd_value(rng: random.Random, old: Any) -> Any:
    """What may stand in the place of `old`: of its own kind, or of another."""
    if isinstance(old, bool) and rng.random() < 0.7:
        return not old
    if isinstance(old, (int, float)) and rng.random() < 0.7:
        near = [old + 1, old - 1, old * 2, -old, old * 1000, old + 0.5]
        return rng.choice([*near, rng.choice(EXTREMES), 1e308, 1e-320])
    if isinstance(old, str) and rng.random() < 0.7:
        cut = rng.randrange(len(old) + 1)
        return rng.choice([old[:cut], old[cut:], old + old, old + odd_text(rng), odd_text(rng)])
    if isinstance(old, list) and old and rng.random() < 0.7:
        more = rng.choice(old)
        return rng.choice([old[:-1], old[1:], [*old, more], old * 3, old[::-1], [more] * 5000])
    deep: Any = 0
    for _ in range(rng.choice([3, 100, 3000])):
        deep = [deep] if rng.random() < 0.5 else {"type": deep}
    values = [None, True, 0, -1, 0.5, rng.choice(EXTREMES), odd_text(rng), [], {}, [None], deep]
    return rng.choice(values)


def edit_json(rng: random.Random, root: Any) -> Any:
    way = walk(rng, root)
    if not way:
        return odd_value(rng, root)
    parent, key = at_way(root, way[:-1]), way[-1]
    other_way = walk(rng, root)
    match rng.randrange(8):
        case 0:
            del parent[key]
        case 1:  # what stands elsewhere
            parent[key] = json.loads(dumps(at_way(root, other_way)))
        case 2 if isinstance(parent, dict):
            parent[rng.choice([str(other_way[-1]), odd_text(rng), key + "_"])] = parent.pop(key)
        case 3 if isinstance(parent, dict) and len(way) > 1:
            grand = at_way(root, way[:-2])
            grand[way[-2]] = Twice(parent)
        case _:
            parent[key] = odd_value(rng, parent[key])
    return root


def dumps(value: Any) -> str:
    """JSON with the lone surrogates as escapes, and with keys twice where Twice says so."""
    marks: list[str] = []

    def with_marks(value: Any, depth: int = 0) -> Any:
        if depth > 50:
            return value
        if isinstance(value, dict):
            made = {key: with_marks(child, depth + 1) for key, child in value.items()}
            if isinstance(value, Twice) and value:
                first = next(iter(value))
                marks.append(first)
                made[f"twice-{len(marks) - 1}"] = made[first]
            return made
        if isinstance(value, list):
            return [with_marks(child, depth + 1) for child in value]
        return value

    text = encode_deep(with_marks(value))
    for number, key in enumerate(marks):
        text = text.replace(f'"twice-{number}"', json.dumps(key))
    return text


def encode_deep(value: Any) -> str:
    """json.dumps of what may be nested deeper than it goes."""
    opened = []
    while isinstance(value, (dict, list)) and len(value) == 1:
        if isinstance(value, list):
            opened.append(("[", "]"))
            value = value[0]
        else:
            ((key, value),) = value.items()
            opened.append(("{" + json.dumps(key) + ":", "}"))
    try:
        inner = json.dumps(value)
    except RecursionError:
        inner = "[" * 3000 + "]" * 3000
    return "".join(o for o, _ in opened) + inner + "".join(c for _, c in reversed(opened))


def json_file(rng: random.Random, good: bytes) -> bytes:
    root = json.loads(good)
    for _ in range(rng.choice([1, 1, 2, 3])):
        root = edit_json(rng, root)
        if not isinstance(root, (dict, list)):
            break
    return dumps(root).encode("utf-8", "surrogatepass")


# safetensors.


def safetensors(rng: random.Random, good: bytes) -> bytes:
    (size,) = struct.unpack_from("<Q", good)
    header, data = json.loads(good[8 : 8 + size]), bytearray(good[8 + size :])
    names = [name for name in header if name != "__metadata__"]
    for _ in range(rng.choice([1, 1, 2])):
        name, other = rng.choice(names), rng.choice(names)
        if not isinstance(header, dict) or not isinstance(header.get(name), dict):
            break
        tensor = header[name]
        match rng.randrange(9):
            case 0:
                header = edit_json(rng, header)
            case 1:
                tensor["data_offsets"] = [
                    edge + rng.choice([0, 1, -1, 4, -4, 64, 2**31, -(2**31), 2**62])
                    for edge in tensor.get("data_offsets", [0, 0])
                ]
            case 2:  # as many numbers, otherwise laid out
                shape = tensor.get("shape") or [1]
                count = 1
                for length in shape:
                    count *= length
                flat = [[count], [1, count], [count, 1], shape[::-1], [*shape, 1], [2**32, 2**32]]
                tensor["shape"] = rng.choice([*flat, [0], [], [count, 0], shape * 2])
            case 3:
                tensor["dtype"] = rng.choice(["F16", "BF16", "F64", "I8", "U8", "I64", "F8_E4M3"])
            case 4:
                header[name], header[other] = header.get(other), tensor
            case 5:  # a number that is none, or is extreme
                for _ in range(rng.choice([1, 100]) if len(data) >= 4 else 0):
                    value = rng.choice([0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 1, 2**31])
                    struct.pack_into("<I", data, rng.randrange(len(data) // 4) * 4, value)
            case 6:
                del header[name]
            case 7:
                data = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.5 else data * 2
            case _:
                header[rng.choice([name + ".weight", "bert." + name, "x", odd_text(rng)])] = (
                    header.pop(name)
                )
    text = dumps(header).encode("utf-8", "surrogatepass")
    length = len(text) if rng.random() < 0.9 else rng.choice([*EXTREMES, len(text) + 1])
    return struct.pack("<Q", length & (2**64 - 1)) + text + bytes(data)


# Files in Collegium's envelope.


def xxh3(data: bytes) -> int:
    """XXH3-64 of the library that Collegium is linked with."""
    name = ctypes.util.find_library("xxhash")
    if name is None:
        raise SystemExit("hostile_mutations: libxxhash is needed to seal envelopes anew")
    function = ctypes.CDLL(name).XXH3_64bits
    function.restype, function.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    return int(function(data, len(data)))


def seal(start: bytes, payload: bytes) -> bytes:
    """The envelope whose first 24 bytes are `start`, with lengths and checksums that are right."""
    header = start + struct.pack("<Q", len(payload))
    parts = [header, struct.pack("<Q", xxh3(header)), payload, struct.pack("<Q", xxh3(payload))]
    return b"".join(parts)


def enveloped(rng: random.Random, good: bytes, skip: int = 0) -> bytes:
    """`skip`: bytes at the front of the payload that only blind damage reaches."""
    start, payload = bytearray(good[:24]), bytearray(good[ENVELOPE:-8])
    if rng.random() < 0.05:
        struct.pack_into("<I", start, rng.choice([8, 20]), rng.choice(EXTREMES) & (2**32 - 1))
    if rng.random() < 0.3:
        return seal(bytes(start), blind(rng, bytes(payload)))
    for _ in range(rng.choice([1, 1, 2, 4])):
        where = rng.choice([16, 256, 2048, len(payload)])
        at = skip + rng.randrange(max(1, min(where, len(payload) - 8 - skip)))
        size, code = rng.choice([(4, "<I"), (8, "<Q")])
        (old,) = struct.unpack_from(code, payload, at)
        near = [old + 1, old - 1, old * 2, old // 2, old ^ (1 << rng.randrange(8 * size))]
        value = rng.choice([*near, rng.choice(EXTREMES), rng.choice(EXTREMES)])
        struct.pack_into(code, payload, at, value & (2 ** (8 * size) - 1))
    return seal(bytes(start), bytes(payload))


def packed_language_model(rng: random.Random, good: bytes) -> bytes:
    """Mostly behind the digest of the model, which is compared before all else."""
    (digest,) = struct.unpack_from("<Q", good, ENVELOPE)
    return enveloped(rng, good, skip=8 + digest if rng.random() < 0.9 else 0)


# Protocol buffers: SentencePiece's model.

Field = tuple[int, int, Any]  # number, wire type, value


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def varint(value: int) -> bytes:
    out = bytearray()
    value &= 2**64 - 1
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_message(data: bytes) -> list[Field]:
    fields: list[Field] = []
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = read_varint(data, at)
            fields.append((key >> 3, wire, value))
            continue
        size = {1: 8, 5: 4}.get(wire)
        if size is None:
            size, at = read_varint(data, at)
        fields.append((key >> 3, wire, data[at : at + size]))
        at += size
    return fields


def write_message(fields: list[Field]) -> bytes:
    out = bytearray()
    for number, wire, value in fields:
        out += varint(number << 3 | wire)
        if wire == 0:
            out += varint(value)
        elif wire in (1, 5):
            out += value
        else:
            out += varint(len(value)) + value
    return bytes(out)


def edit_charsmap(rng: random.Random, blob: bytes) -> bytes:
    """A unit of the double array, or its size, or a string behind it."""
    out = bytearray(blob)
    for _ in range(rng.choice([1, 1, 8])):
        at = 4 * rng.randrange(rng.choice([1, 2, 64, len(out) // 4])) if len(out) >= 8 else 0
        if len(out) < at + 4:
            break
        (old,) = struct.unpack_from("<I", out, at)
        flipped = old ^ (1 << rng.randrange(32))
        new = rng.choice([old + 4, old - 4, flipped, flipped, rng.choice(EXTREMES), old + 1024])
        struct.pack_into("<I", out, at, new & (2**32 - 1))
    return bytes(out)


def edit_message(rng: random.Random, fields: list[Field]) -> list[Field]:
    if not fields:
        return fields
    at = rng.randrange(len(fields))
    number, wire, value = fields[at]
    match rng.randrange(8):
        case 0:
            del fields[at]
        case 1:
            fields.insert(rng.randrange(len(fields) + 1), fields[at])
        case 2:
            other = rng.randrange(len(fields))
            fields[at], fields[other] = fields[other], fields[at]
        case 3:
            fields[at] = (rng.choice([0, 1, 2, 3, 24, 35, 41, 2**28]), wire, value)
        case 4:
            fields += [fields[at]] * rng.choice([2, 100, 3000])
        case _ if wire == 0:
            fields[at] = (number, wire, rng.choice([*range(7), *EXTREMES, value + 1]))
        case _ if wire == 5:
            scores = [float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e-40, 0.0, -0.0]
            fields[at] = (number, wire, struct.pack("<f", rng.choice(scores)))
        case _ if wire == 2:
            big = len(value) > 256
            fields[at] = (number, wire, edit_charsmap(rng, value) if big else blind(rng, value))
    return fields


def sentencepiece(rng: random.Random, good: bytes) -> bytes:
    fields = read_message(good)
    for _ in range(rng.choice([1, 1, 2, 5])):
        if not fields or rng.random() < 0.2:
            fields = edit_message(rng, fields)
            continue
        # Pieces are many; the trainer's and the normaliser's spec two.
        specs = [i for i, field in enumerate(fields) if field[0] in (2, 3) and field[1] == 2]
        at = rng.choice(specs) if specs and rng.random() < 0.5 else rng.randrange(len(fields))
        number, wire, value = fields[at]
        try:
            inner = read_message(value) if wire == 2 else None
        except IndexError:  # an earlier edit
            inner = None
        if inner is not None:
            fields[at] = (number, wire, write_message(edit_message(rng, inner)))
    return write_message(fields)
