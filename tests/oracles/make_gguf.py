"""Writes tests/data/small.gguf with the gguf package and tests/data/gguf.json with what is in it:
metadata values, and of each tensor type, shape and XXH3-128 of its bytes and of its float32 values
(by gguf.quants). With COLLEGIUM_SMOLLM2 set to the model file, also of that model's tensors, in
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
FLOAT_TYPES = (Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q8_0)
BLOCK_BYTES = {Type.Q4_0: 18, Type.Q4_1: 20, Type.Q8_0: 34, Type.Q6_K: 210}


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
    data = rng.integers(0, 256, (blocks, BLOCK_BYTES[kind]), dtype=np.uint8)
    for scale in range(0, 4 if kind == Type.Q4_1 else 2, 2):
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
    for kind in FLOAT_TYPES:
        values = rng.normal(size=(3, 64)).astype(np.float32)
        if kind in (Type.F32, Type.F16):
            writer.add_tensor(
                f"plain.{kind.name}", values.astype(np.dtype(f"f{4 if kind == Type.F32 else 2}"))
            )
        else:
            writer.add_tensor(f"plain.{kind.name}", quantize(values, kind), raw_dtype=kind)
    for kind in (Type.Q4_0, Type.Q4_1, Type.Q8_0):
        writer.add_tensor(f"any.{kind.name}", random_blocks(rng, kind, 40), raw_dtype=kind)
    writer.add_tensor("refused.Q6_K", random_blocks(rng, Type.Q6_K, 2), raw_dtype=Type.Q6_K)
    writer.add_tensor("refused.I32", np.arange(6, dtype=np.int32).reshape(1, 2, 3))
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

    if "COLLEGIUM_SMOLLM2" in os.environ:
        model = GGUFReader(os.environ["COLLEGIUM_SMOLLM2"])
        write("smollm2-tensors.json", {"tensors": describe_tensors(model)})


if __name__ == "__main__":
    main()
