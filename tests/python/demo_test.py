"""The demo's committed data: its questions and the negatives that the gate learns from."""

from __future__ import annotations

import ast
import re

from conftest import ROOT

DEMO = ROOT / "examples" / "demo"


def questions() -> tuple[str, ...]:
    """QUESTIONS of demo.py, read without running it."""
    for node in ast.parse((DEMO / "demo.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "QUESTIONS":
            value = ast.literal_eval(node.value)
            assert isinstance(value, tuple)
            return value
    raise AssertionError("demo.py has no QUESTIONS")


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))


def test_the_negatives_are_none_of_the_demos_questions() -> None:
    negatives = (DEMO / "negatives.txt").read_text(encoding="utf-8").splitlines()
    assert len(negatives) > 50
    assert len(questions()) == 6
    asked = {words(question) for question in questions()}
    # Whatever their case and punctuation.
    assert not [negative for negative in negatives if words(negative) in asked]


def test_the_negatives_are_questions_each_of_them_once() -> None:
    negatives = (DEMO / "negatives.txt").read_text(encoding="utf-8").splitlines()
    assert all(words(negative) for negative in negatives)
    assert len({words(negative) for negative in negatives}) == len(negatives)
