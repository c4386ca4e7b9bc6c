"""Writes tests/data/small.gguf with the gguf package and tests/data/gguf.json with what is in it:
metadata values, and of each tensor type, shape and XXH3-128 of its bytes and of its float32 values
(by gguf.quants). tests/data/quants.gguf and quants.json: the same of random blocks of every
quantised type that is read. With COLLEGIUM_SMOLLM2 set to the model file, also of that model's tensors, in
tests/data/smollm2-tensors.json.

Needs: gguf, numpy, xxhash. Run from the repository root.
"""

import json
import os
from pathlib import Path

import numpy as np
import xxhash
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

DATA = Path(__file__).parent.parent / "data"
SMALL_TYPES = (Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q8_0)
# Bytes of a block, and where its half-precision numbers lie.
BLOCKS = {
    Type.Q4_0: (18, (0,)),
    Type.Q4_1: (20, (0, 2)),
    Type.Q5_0: (22, (0,)),
    Type.Q5_1: (24, (0, 2)),
    Type.Q8_0: (34, (0,)),
    Type.Q4_K: (144, (0, 2)),
    Type.Q5_K: (176, (0, 2)),
    Type.Q6_K: (210, (208,)),
    Type.Q2_K: (84, (80, 82)),
}
FLOAT_TYPES = (*SMALL_TYPES, Type.Q5_0, Type.Q5_1, Type.Q4_K, Type.Q5_K, Type.Q6_K)


def digest(array: np.ndarray) -> str:
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).tobytes())


def describe_tensors(reader: GGUFReader) -> dict[str, object]:
    tensors: dict[str, object] = {}
    for tensor in sorted(reader.tensors, key=lambda t: t.name):
        entry: dict[str, object] = {
            "type": tensor.tensor_type.name,
            "shape": [int(n) for n in reversed(tensor.shape)],
            "bytes": digest(tensor.data),
        }
        if tensor.tensor_type in FLOAT_TYPES:
            values = dequantize(tensor.data, tensor.tensor_type)
            entry["float32"] = digest(values.astype(np.float32))
        tensors[tensor.name] = entry
    return tensors


def random_blocks(rng: np.random.Generator, kind: Type, blocks: int) -> np.ndarray:
    """Any bytes, except that the half-precision scales are finite (subnormal ones included)."""
    size, scales = BLOCKS[kind]
    data = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    for scale in scales:
        exponent = data[:, scale + 1] & 0x7C
        data[exponent == 0x7C, scale + 1] &= 0x83
    return data


def write_small(path: Path) -> None:
    rng = np.random.default_rng(12)
    writer = GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_uint8("v.uint8", 200)
    writer.add_int8("v.int8", -100)
    writer.add_uint16("v.uint16", 60000)
    writer.add_int16("v.int16", -30000)
    writer.add_uint32("v.uint32", 4_000_000_000)
    writer.add_int32("v.int32", -2_000_000_000)
    writer.add_uint64("v.uint64", 2**64 - 1)
    writer.add_int64("v.int64", -(2**62))
    writer.add_float32("v.float32", 0.1)
    writer.add_float64("v.float64", 0.1)
    writer.add_bool("v.true", True)
    writer.add_bool("v.false", False)
    writer.add_string("v.string", "naïve ✓")
    writer.add_array("a.strings", ["", "Ġt", "日本", "x" * 300])
    writer.add_array("a.integers", [1, -2, 3])
    writer.add_array("a.floats", [0.5, -1.25])
    writer.add_array("a.nested", [[1, 2], [3]])
    for kind in SMALL_TYPES:
        values = rng.normal(size=(3, 64)).astype(np.float32)
        if kind in (Type.F32, Type.F16):
            writer.add_tensor(
                f"plain.{kind.name}", values.astype(np.dtype(f"f{4 if kind == Type.F32 else 2}"))
            )
        else:
            writer.add_tensor(f"plain.{kind.name}", quantize(values, kind), raw_dtype=kind)
    for kind in (Type.Q4_0, Type.Q4_1, Type.Q8_0):
        writer.add_tensor(f"any.{kind.name}", random_blocks(rng, kind, 40), raw_dtype=kind)
    writer.add_tensor("refused.Q2_K", random_blocks(rng, Type.Q2_K, 2), raw_dtype=Type.Q2_K)
    writer.add_tensor("refused.I32", np.arange(6, dtype=np.int32).reshape(1, 2, 3))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_quants(path: Path) -> None:
    rng = np.random.default_rng(13)
    writer = GGUFWriter(path, "llama")
    for kind in BLOCKS:
        if kind in FLOAT_TYPES:
            writer.add_tensor(f"any.{kind.name}", random_blocks(rng, kind, 48), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write(name: str, parts: dict[str, dict[str, object]]) -> None:
    """One line for each entry, so that a change shows as one."""
    text = ",\n".join(
        f"{json.dumps(part)}: {{\n"
        + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in entries.items())
        + "\n}"
        for part, entries in parts.items()
    )
    (DATA / name).write_text("{" + text + "}\n", encoding="utf-8")


def main() -> None:
    write_small(DATA / "small.gguf")
    reader = GGUFReader(DATA / "small.gguf")
    values = {
        name: field.contents()
        for name, field in reader.fields.items()
        if name.startswith(("v.", "a.")) and name != "a.nested"
    }
    write("gguf.json", {"metadata": values, "tensors": describe_tensors(reader)})

    write_quants(DATA / "quants.gguf")
    write("quants.json", {"tensors": describe_tensors(GGUFReader(DATA / "quants.gguf"))})

    if "COLLEGIUM_SMOLLM2" in os.environ:
        model = GGUFReader(os.environ["COLLEGIUM_SMOLLM2"])
        write("smollm2-tensors.json", {"tensors": describe_tensors(model)})


if __name__ == "__main__":
    main()
