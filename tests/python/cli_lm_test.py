from __future__ import annotations

import gzip
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import collegium
from conftest import ROOT, RunPython

TINY = str(ROOT / "tests/data/tiny_llama.gguf")
FOLDER = str(ROOT / "tests/data/lm_folder")


@pytest.fixture
def run(run_python: RunPython) -> Any:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_python(["-m", "collegium", *arguments])

    return run


def test_generate_prints_text_and_says_when_it_was_cut(run: Any) -> None:
    model = collegium.lm.load(TINY)
    expected = model.generate("the", max_new_tokens=6, temperature=1.5, min_p=0.01, seed=3)
    options = ("--max-new-tokens", "6", "--temperature", "1.5", "--min-p", "0.01", "--seed", "3")
    done = run("generate", "--model", TINY, *options, "the")
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected.text.rstrip("\n") + "\n"
    assert done.stderr == "collegium: the answer was cut short: length\n"
    assert run("generate", "--model", TINY, *options, "--quiet", "the").stderr == ""
    streamed = run("generate", "--model", TINY, *options, "--stream", "--quiet", "the")
    assert streamed.stderr == expected.text + "\n"


def test_generate_as_json_has_reason_and_log_probabilities(run: Any) -> None:
    model = collegium.lm.load(TINY)
    whole = model.generate("the", max_new_tokens=20, temperature=1.5)
    stop = whole.text[3:5]
    done = run(
        *("generate", "--model", TINY, "--temperature", "1.5", "--max-new-tokens", "20"),
        *("--stop", "never-comes", "--stop", stop, "--alternatives", "2", "--log-probabilities"),
        *("--json", "the"),
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert (out["finish_reason"], out["stop"]) == ("stop", stop)
    assert out["text"] == whole.text[: whole.text.index(stop)]
    assert len(out["ids"]) == out["tokens"] == len(out["log_probabilities"])
    assert {len(place) for place in out["alternatives"]} == {2}
    assert set(out["alternatives"][0][0]) == {"token", "id", "log_probability"}


def test_a_prompt_comes_from_stdin() -> None:
    package = str(Path(collegium.__file__).parents[1])
    command = [sys.executable, "-m", "collegium", "generate", "--model", TINY, "--json", "-"]
    done = subprocess.run(
        command, input="the ring", env={"PYTHONPATH": package}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = collegium.lm.load(TINY).generate("the ring")
    assert json.loads(done.stdout)["ids"] == expected.ids


def test_chat_answers_one_message_or_one_a_line(run: Any) -> None:
    model = collegium.lm.load(TINY)
    system = {"role": "system", "content": "Be brief."}
    first = {"role": "user", "content": "the"}
    once = run("chat", "--model", TINY, "--system", "Be brief.", "--json", "the")
    assert once.returncode == 0, once.stderr
    expected = model.chat([system, first])
    assert json.loads(once.stdout)["ids"] == expected.ids

    package = str(Path(collegium.__file__).parents[1])
    command = [sys.executable, "-m", "collegium", "chat", "--model", TINY, "--quiet"]
    done = subprocess.run(
        [*command, "--max-new-tokens", "4", "--system", "x"],
        input="the\n\nring\n",
        env={"PYTHONPATH": package},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    system = {"role": "system", "content": "x"}  # a short one: the context has 96 tokens
    answer = model.chat([system, first], max_new_tokens=4)
    said = {"role": "assistant", "content": answer.text}
    again = model.chat([system, first, said, {"role": "user", "content": "ring"}], max_new_tokens=4)
    assert done.stdout == answer.text.rstrip("\n") + "\n" + again.text.rstrip("\n") + "\n"


def test_perplexity_by_domain_of_files(run: Any, tmp_path: Path) -> None:
    (tmp_path / "law.txt").write_text("the thing and\nthe other thing\n")
    with gzip.open(tmp_path / "sea.txt.gz", "wt") as file:
        file.write("ring " * 60)
    (tmp_path / "empty.txt").write_text("")
    files = ["law.txt", "sea.txt.gz", "nothing=empty.txt"]
    paths = [
        "nothing=" + str(tmp_path / "empty.txt") if "=" in f else str(tmp_path / f) for f in files
    ]
    done = run("perplexity", "--model", TINY, "--json", "--window", "32", "--stride", "8", *paths)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert list(out) == ["law", "sea", "nothing"]
    assert out["nothing"]["perplexity"] is None
    model = collegium.lm.load(TINY)
    expected = model.score("ring " * 60, window=32, stride=8)
    assert out["sea"]["perplexity"] == expected.perplexity
    assert out["sea"]["windows"] == expected.windows > 5
    by_line = json.loads(run("perplexity", "--model", TINY, "--json", "--lines", *paths).stdout)
    lines = model.perplexity({"law": ["the thing and", "the other thing"]})["law"]
    assert by_line["law"]["log_probability"] == lines.log_probability
    table = run("perplexity", "--model", TINY, "--quiet", *paths).stdout.splitlines()
    assert [line.split()[0] for line in table] == ["law", "sea", "nothing"]
    assert math.isclose(
        float(table[0].split()[1]),
        model.score("the thing and\nthe other thing\n").perplexity,
        abs_tol=1e-3,
    )


def test_a_part_of_a_file_may_end_within_a_character(run: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("caf\u00e9 ring", encoding="utf-8")
    file = str(tmp_path / "a.txt")
    part = run("perplexity", "--model", TINY, "--json", "--max-bytes", "4", file)
    assert json.loads(part.stdout)["a"]["tokens"] == 2


def test_trace_writes_where_tokens_go(run: Any, tmp_path: Path) -> None:
    moe = str(ROOT / "tests/data/gguf_models/olmoe.gguf")
    file = tmp_path / "quick.trace"
    options = ("--model", moe, "--max-new-tokens", "3")
    done = run("trace", *options, "--json", "The quick brown fox", str(file))
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    trace = collegium.lm.TokenTrace.load(file)
    assert out["tokens"] == len(trace)
    assert [layer["layer"] for layer in out["layers"]] == [0, 1]
    for layer in out["layers"]:
        assert len(layer["tokens_by_expert"]) == 8
        assert sum(layer["tokens_by_expert"]) == 3 * len(trace)
    shown = run("trace", *options, "The quick brown fox", str(tmp_path / "again.trace"))
    assert "layer 1: 8 experts, tokens of the busiest" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["generate", "--model", "no-such-model", "x"], "NotFoundError"),
        (["generate", "--model", TINY, "--top-p", "0", "x"], "InvalidArgumentError"),
        (["generate", "--model", TINY, "x" * 100], "InvalidArgumentError"),
        (["perplexity", "--model", TINY, "no-such-file"], "IoError"),
        (["perplexity", "--model", TINY, TINY], "InvalidArgumentError"),
        (["trace", "--model", TINY, "the", "x.trace"], "InvalidArgumentError"),
    ],
)
def test_an_error_is_one_line_and_1(run: Any, arguments: list[str], error: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"collegium: {error}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "x"],
        ["generate", "--model", TINY],
        ["generate", "--model", TINY, "--max-new-tokens", "0", "x"],
        ["generate", "--model", TINY, "--temperature", "hot", "x"],
        ["perplexity", "--model", TINY],
        ["trace", "--model", TINY, "x"],
    ],
)
def test_wrong_usage_is_2(run: Any, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_generate_computes_fast_and_guesses_if_told(run: Any) -> None:
    model = collegium.lm.load(TINY, compute="fast")
    expected = model.generate("the", max_new_tokens=30)
    done = run(
        *("generate", "--model", TINY, "--compute", "fast", "--prompt-lookup", "8"),
        *("--max-new-tokens", "30", "--json", "the"),
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert out["ids"] == expected.ids
    assert out["guessed_tokens"] >= out["accepted_tokens"] > 0
    refused = run("generate", "--model", TINY, "--compute", "int8", "the")
    assert refused.returncode == 2
    assert "exact" in refused.stderr


def test_pack_writes_what_generate_maps_and_a_draft_changes_nothing(
    run: Any, tmp_path: Path
) -> None:
    packed = tmp_path / "tiny.packed"
    done = run("pack", "--model", TINY, str(packed), "--json")
    assert done.returncode == 0, done.stderr
    fast = collegium.lm.load(TINY, compute="fast")
    assert json.loads(done.stdout) == {"digest": fast.digest, "bytes": fast.packed_bytes}
    small = tmp_path / "small.packed"
    done = run("pack", "--model", FOLDER, "--weights", "int4", str(small), "--json")
    assert done.returncode == 0, done.stderr
    stored = collegium.lm.load(FOLDER, compute="fast")
    assert json.loads(done.stdout)["bytes"] < stored.packed_bytes / 2
    options = ("--max-new-tokens", "30", "--json", "the")
    mapped = run(
        "generate", "--model", TINY, "--compute", "fast", "--packed", str(packed), *options
    )
    assert json.loads(mapped.stdout)["ids"] == fast.generate("the", max_new_tokens=30).ids
    plain = run("generate", "--model", TINY, "--kv-cache", "int8", *options)
    drafted = run(*("generate", "--model", TINY, "--kv-cache", "int8", "--draft", TINY, *options))
    assert json.loads(drafted.stdout)["ids"] == json.loads(plain.stdout)["ids"]
    assert json.loads(drafted.stdout)["accepted_tokens"] > 0
    refused = run("generate", "--model", TINY, "--packed", str(packed), "the")
    assert refused.returncode == 1
    assert "packed" in refused.stderr
