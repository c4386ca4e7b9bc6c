"""Writes tests/data/small.safetensors with the safetensors package and tests/data/safetensors.json
with what is in it: type, shape and XXH3-128 of each tensor's bytes and of its float32 values
(by torch). With COLLEGIUM_MINILM set to a model folder, also of that model's tensors, in
tests/data/minilm-tensors.json.

Needs: torch, safetensors, xxhash. Run from the repository root.
"""

import json
import os
from pathlib import Path

import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import save_file

DATA = Path(__file__).parent.parent / "data"
NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}


def digest(tensor: torch.Tensor) -> str:
    return xxhash.xxh3_128_hexdigest(tensor.contiguous().flatten().view(torch.uint8).numpy())


def describe(path: Path) -> dict[str, dict[str, object]]:
    tensors: dict[str, object] = {}
    with safe_open(path, framework="pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            entry = {
                "dtype": NAMES[tensor.dtype],
                "shape": list(tensor.shape),
                "bytes": digest(tensor),
            }
            if entry["dtype"] in ("F32", "F16", "BF16", "F64"):
                entry["float32"] = digest(tensor.to(torch.float32))
            tensors[name] = entry
        return {"metadata": file.metadata() or {}, "tensors": tensors}


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
    torch.manual_seed(11)
    numbers = torch.randn(3, 5, dtype=torch.float64) * 10.0 ** torch.randint(-6, 4, (3, 5))
    tensors = {f"numbers.{NAMES[t]}": numbers.to(t) for t in NAMES if t.is_floating_point}
    whole = torch.randint(0, 100, (7,))
    tensors |= {f"whole.{NAMES[t]}": whole.to(t) for t in NAMES if not t.is_floating_point}
    # Every half there is but the NaNs, whose payloads are nobody's business.
    halves = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    tensors["halves"] = halves[~halves.isnan()][::16].clone()
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["näme ✓"] = torch.ones(2, dtype=torch.float32)
    save_file(tensors, DATA / "small.safetensors", metadata={"format": "pt", "note": "ünïcode"})
    write("safetensors.json", describe(DATA / "small.safetensors"))

    if "COLLEGIUM_MINILM" in os.environ:
        path = Path(os.environ["COLLEGIUM_MINILM"]) / "model.safetensors"
        write("minilm-tensors.json", describe(path))


if __name__ == "__main__":
    main()
