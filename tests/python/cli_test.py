from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import collegium
import small_data
from conftest import RunPython

COMMANDS = [
    "create",
    "add",
    "remove",
    "pairs",
    "fit",
    "train-lora",
    "ask",
    "evaluate",
    "compare",
    "info",
    "backup",
    "verify",
    "repair",
    "compact",
    "purge",
    "export",
    "tune",
    "words",
    "generate",
    "chat",
    "pack",
    "perplexity",
    "trace",
    "convert",
    "download-model",
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    documents, pairs = small_data.collections()["tea"]
    for name, rows in (("docs", documents), ("pairs", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "negatives.txt").write_text("\n".join(small_data.NEGATIVES) + "\n\n")
    return tmp_path


def test_from_documents_to_an_answer(
    files: Path, tiny_encoder: Path, run_python: RunPython
) -> None:
    library = str(files / "library")

    def run(*arguments: str) -> str:
        done = run_python(["-m", "collegium", *arguments])
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    run("create", "--library", library, "--encoder", str(tiny_encoder))
    added = json.loads(
        run(
            *("add", "--library", library, "--collection", "tea", "--json"),
            *("--documents", str(files / "docs.jsonl"), "--pairs", str(files / "pairs.jsonl")),
            *("--negatives", str(files / "negatives.txt")),
        )
    )
    assert added["documents"] == 12
    assert added["pairs"] == {"train": 12, "dev": 6, "test": 6}
    assert added["negatives"] == len(small_data.NEGATIVES)
    assert "generation" in json.loads(run("fit", "--library", library, "--json"))
    answer = json.loads(
        run("ask", "--library", library, "--json", "--k", "2", "--gate", "retrieve", "green tea?")
    )
    assert len(answer["passages"]) == 2
    assert "route" in run("ask", "--library", library, "green tea?")
    assert "plain" in run("evaluate", "--library", library)
    run("remove", "--library", library, "--collection", "tea", "--ids", "green,black")
    info = json.loads(run("info", "--library", library, "--json"))
    assert info["collections"][0]["documents"] == 10
    assert "tea" in run("info", "--library", library)


def test_a_beir_folder_is_a_collection(
    tmp_path: Path, tiny_encoder: Path, run_python: RunPython
) -> None:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "a", "title": "", "text": "some text"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "some"}\n')
    (folder / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    library = str(tmp_path / "library")
    run_python(["-m", "collegium", "create", "--library", library, "--encoder", str(tiny_encoder)])
    done = run_python(["-m", "collegium", "add", "--library", library, "--beir", str(folder)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("set: 1 documents")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, run_python: RunPython) -> None:
    done = run_python(["-m", "collegium", command, "--help"])
    assert done.returncode == 0
    assert f"collegium {command}" in done.stdout.split("example:")[1]


def test_help_and_version(run_python: RunPython) -> None:
    help_text = run_python(["-m", "collegium", "--help"]).stdout
    assert all(command in help_text for command in COMMANDS)
    version = run_python(["-m", "collegium", "--version"]).stdout
    assert version.strip() == f"collegium {collegium.__version__}"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["ask", "--library", "x"],
        ["add", "--library", "x"],
        ["add", "--library", "x", "--documents", "d.jsonl"],
        ["add", "--library", "x", "--beir", "b", "--documents", "d.jsonl"],
        ["download-model", "left-pad"],
        ["ask", "--library", "x", "--k", "-1", "q?"],
        ["ask", "--library", "x", "--k", "0", "q?"],
        ["ask", "--library", "x", "--k", "five", "q?"],
        ["ask", "--library", "x", "--max-new-tokens", "-1", "q?"],
        ["create", "--library", "x", "--encoder", "e", "--compute", "fp8"],
        ["create", "--library", "x", "--encoder", "e", "--truncate-dim", "0"],
        ["fit", "--library", "x", "--seed", "-1"],
        ["fit", "--library", "x", "--seed", str(2**64)],
        ["evaluate", "--library", "x", "--seed", "-1"],
        ["add", "--library", "x", "--beir", "b", "--max-documents", "0"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], run_python: RunPython) -> None:
    done = run_python(["-m", "collegium", *arguments])
    assert done.returncode == 2
    assert "usage:" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["info", "--library", "no-such-library"], "NotFoundError"),
        (["create", "--library", "x", "--encoder", "no-such-model"], "NotFoundError"),
        (["add", "--library", "x", "--beir", "no-such-folder"], "NotFoundError"),
        (["add", "--library", "x", "--negatives", "no-such-file"], "IoError"),
    ],
)
def test_an_error_is_one_line_and_1(
    arguments: list[str], error: str, run_python: RunPython, tmp_path: Path
) -> None:
    arguments = [str(tmp_path / a) if a == "x" else a for a in arguments]
    done = run_python(["-m", "collegium", *arguments])
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"collegium: {error}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"", mtime=0)[:10] + b"\xff" * 40,
        gzip.compress(b"[" * 200_000, mtime=0),
        gzip.compress(b'{"id": "a", "text": "\xff"}', mtime=0),
        gzip.compress(b'{"id": "\\ud800", "text": "x"}', mtime=0),
        gzip.compress(b'{"id": ["a"], "text": "x"}', mtime=0),
    ],
)
def test_a_damaged_documents_file_is_one_line_and_1(
    files: Path, tiny_encoder: Path, run_python: RunPython, content: bytes
) -> None:
    library = str(files / "library")
    run_python(["-m", "collegium", "create", "--library", library, "--encoder", str(tiny_encoder)])
    (files / "docs.jsonl.gz").write_bytes(content)
    done = run_python(
        [
            *("-m", "collegium", "add", "--library", library, "--collection", "c"),
            *("--documents", str(files / "docs.jsonl.gz")),
        ]
    )
    assert done.returncode == 1
    assert done.stderr.startswith("collegium: InvalidArgumentError: ")
    assert done.stderr.count("\n") == 1


def test_an_empty_documents_file_makes_an_empty_collection(
    tmp_path: Path, tiny_encoder: Path, run_python: RunPython
) -> None:
    library = str(tmp_path / "library")
    run_python(["-m", "collegium", "create", "--library", library, "--encoder", str(tiny_encoder)])
    (tmp_path / "none.jsonl").write_text("")
    done = run_python(
        [
            *("-m", "collegium", "add", "--library", library, "--collection", "none", "--json"),
            *("--documents", str(tmp_path / "none.jsonl")),
        ]
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == 0
    with collegium.Library.open(library) as opened:
        assert [c.name for c in opened.info().collections] == ["none"]


def test_json_stays_text_that_is_not_ascii(
    files: Path, tiny_encoder: Path, run_python: RunPython
) -> None:
    library = str(files / "library")
    (files / "docs.jsonl").write_text('{"id": "é", "text": "Thé vert, 東京"}\n')
    run_python(["-m", "collegium", "create", "--library", library, "--encoder", str(tiny_encoder)])
    run_python(
        [
            *("-m", "collegium", "add", "--library", library, "--collection", "c"),
            *("--documents", str(files / "docs.jsonl")),
        ]
    )
    done = run_python(["-m", "collegium", "ask", "--library", library, "--json", "Thé?"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passages"][0]["document_id"] == "é"


def test_create_in_int8_and_every_level_that_embedded_is_listed(
    files: Path, tiny_encoder: Path, run_python: RunPython
) -> None:
    library = str(files / "library")
    levels = collegium.available_isas()[:2]

    def run(*arguments: str, isa: str = "") -> str:
        done = run_python(["-m", "collegium", *arguments], COLLEGIUM_ISA=isa)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(
        *("create", "--library", library, "--encoder", str(tiny_encoder)),
        *("--compute", "int8", "--truncate-dim", "8"),
    )
    for i, level in enumerate(levels):
        (files / "one.jsonl").write_text(json.dumps({"id": str(i), "text": f"river {i}"}) + "\n")
        run(
            *("add", "--library", library, "--collection", "c"),
            *("--documents", str(files / "one.jsonl")),
            isa=level,
        )
    info = json.loads(run("info", "--library", library, "--json"))
    assert (info["compute"], info["dim"], info["truncate_dim"]) == ("int8", 8, 8)
    made = info["collections"][0]["vectors_made"]
    assert made == sorted(
        ({"compute": "int8", "isa": level} for level in levels), key=lambda entry: entry["isa"]
    )
    assert f"int8 on {levels[0]}" in run("info", "--library", library)
    answer = json.loads(run("ask", "--library", library, "--json", "--gate", "retrieve", "river?"))
    assert answer["index_generations"] == {"c": 0}
    assert answer["passages"][0]["index_generation"] == 0


def test_convert_packs_an_encoder_that_gives_the_same_vectors(
    tmp_path: Path, tiny_encoder: Path, run_python: RunPython
) -> None:
    to = tmp_path / "packed"
    done = run_python(["-m", "collegium", "convert", str(tiny_encoder), str(to), "--json"])
    assert done.returncode == 0, done.stderr
    read, mapped = (collegium.Encoder.load(folder) for folder in (tiny_encoder, to))
    assert json.loads(done.stdout) == {
        "folder": str(to),
        "compute": "fp32",
        "digest": read.digest,
    }
    assert mapped.digest == read.digest
    assert (mapped.encode(["a text"]) == read.encode(["a text"])).all()
    again = run_python(["-m", "collegium", "convert", str(tiny_encoder), str(to)])
    assert again.returncode == 1
    assert "AlreadyExistsError" in again.stderr
