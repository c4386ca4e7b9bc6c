"""Evidence: precision and recall of the support check (docs/evidence/support-check.md).

Sentences of the demo's manuals are stated as they are or lightly reworded, which must be let
through, and contradicted by rule, which must be found: a number changed, a name swapped for one of
another passage, a negation inserted or taken out.

    python benchmarks/support_check.py --manuals build/demo/packages
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from pathlib import Path

import evidence
from collegium.evaluation import check_support
from collegium.text import split_sentences

sys.path.insert(0, str(evidence.ROOT / "examples" / "demo"))
import manuals

# Also parts of decimals, ranges, dates and the like: what no letter touches.
_NUMBER = re.compile(r"(?<!\w)\d{1,6}(?!\w)")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][A-Za-z]{2,}(?![\w-])")
_VERB = re.compile(r"\b(?:is|are|can|must|will|should|may)\b(?! not\b)")
_NEGATED = re.compile(r"\b(is|are|can|must|will|should|may|does|do) not\b")
KINDS = ("number changed", "name swapped", "negation inserted", "negation taken out")


def rewordings(sentence: str) -> list[str]:
    """What says the same in other words."""
    said = [sentence, f"According to the passage, {sentence[0].lower()}{sentence[1:]}"]
    head, comma, _ = sentence.partition(", ")
    if comma and len(head.split()) >= 5:
        said.append(head + ".")
    return said


def contradictions(
    sentence: str, passage: str, names: list[str], chance: random.Random
) -> list[tuple[str, str]]:
    """(kind, sentence that the passage does not say)."""
    planted: list[tuple[str, str]] = []

    def put(kind: str, match: re.Match[str], by: str) -> None:
        planted.append((kind, sentence[: match.start()] + by + sentence[match.end() :]))

    if numbers := list(_NUMBER.finditer(sentence)):
        match = chance.choice(numbers)
        put(KINDS[0], match, str(int(match.group()) + chance.randint(1, 97)))
    if found := list(_NAME.finditer(sentence)):
        other = next((n for n in chance.sample(names, 20) if n not in passage), None)
        if other is not None:
            put(KINDS[1], chance.choice(found), other)
    if verbs := list(_VERB.finditer(sentence)):
        match = chance.choice(verbs)
        put(KINDS[2], match, match.group() + " not")
    if negated := list(_NEGATED.finditer(sentence)):
        match = chance.choice(negated)
        put(KINDS[3], match, match.group(1))
    return planted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manuals", type=Path, default=evidence.ROOT / "build/demo/packages")
    parser.add_argument("--passages", type=int, default=200, help="of each manual")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    passages: list[str] = []
    for manual in manuals.MANUALS:
        documents, _ = manuals.read_manual(arguments.manuals, manual, arguments.passages)
        passages += [f"{document['title']}\n{document['text']}" for document in documents]
    names = sorted({name for passage in passages for name in _NAME.findall(passage)})
    faithful, alarms = 0, 0
    planted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for passage in passages:
        text = passage.encode()
        spans = [text[begin:end].decode() for begin, end in split_sentences(passage)]
        sentences = [" ".join(span.split()) for span in spans]
        proper = [s for s in sentences if 5 <= len(s.split()) <= 40 and s[-1] in ".!?"]
        for sentence in proper[:4]:
            for said in rewordings(sentence):
                faithful += 1
                alarms += check_support(said, passage) != ""
            for kind, said in contradictions(sentence, passage, names, chance):
                planted[kind] += 1
                found[kind] += check_support(said, passage) != ""
    rows = [f"| {k} | {planted[k]} | {found[k] / max(1, planted[k]):.3f} |" for k in KINDS]
    hits, all_planted = sum(found.values()), sum(planted.values())
    page = "\n".join(
        [
            evidence.header(
                "Support check", "make evidence ONLY=support-check", str(arguments.seed)
            ),
            "Whether a generated sentence's numbers, names and negations occur in the passage it"
            f" cites. {len(passages)} passages of the demo's six manuals; contradictions are"
            " planted by rule, at most one of a kind in a sentence, so these are not the errors a"
            " language model makes, and errors of other kinds are not looked for. A number that"
            " is changed into another one of the same passage counts as missed.",
            "",
            "| planted | sentences | recall |",
            "|---|--:|--:|",
            *rows,
            f"| all | {all_planted} | {hits / max(1, all_planted):.3f} |",
            "",
            "| | |",
            "|---|--:|",
            f"| faithful sentences (verbatim and reworded) | {faithful} |",
            f"| of them rejected | {alarms / max(1, faithful):.3f} |",
            f"| precision of a rejection, at these numbers | {hits / max(1, hits + alarms):.3f} |",
        ]
    )
    evidence.write("support-check", page)


if __name__ == "__main__":
    main()
