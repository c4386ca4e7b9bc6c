"""What the encoder's speed is held to: how many times as fast as the best peer, by ISA level."""

from __future__ import annotations

# By level, then by compute; a pair is for the short batches (one text of at most 32 tokens) and
# the others. bf16 is beside onnxruntime in fp32, all else beside the best peer of its compute; without AMX it
# is a way to hold weights, and no bar is set.
_FLAT = {
    "vnni": {"fp32": 1.3, "int8": 1.5},
    "amx": {"fp32": 1.3, "bf16": 5.0, "int8": 2.7},
}


def bar(level: str, compute: str, texts: int, tokens: int) -> float | None:
    """None: no bar is set there."""
    if level != "avx2":
        return _FLAT.get(level, {}).get(compute)
    short = texts == 1 and tokens <= 32
    if compute == "int8":
        return 1.6 if short else 1.4
    if compute == "fp32":
        if short:
            return 1.7
        return 1.35 if texts == 1 else 1.15
    return None


def verdict(reached: float, wanted: float | None) -> str:
    """Two cells: the bar, and whether it was met."""
    if wanted is None:
        return "none | –"
    return f"{wanted:g} | {'met' if reached >= wanted else '**missed**'}"
