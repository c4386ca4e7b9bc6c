from __future__ import annotations

import io

import pytest

from collegium import display


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nobody_watches_a_pipe_and_someone_watches_a_terminal() -> None:
    assert not display.someone_watches(io.StringIO())
    assert display.someone_watches(Terminal())


def test_a_bar_is_silent_at_first_then_one_line_then_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = Terminal()
    bar = display.ProgressBar("adding tea", stream)
    bar("encode", 1, 10)
    assert stream.getvalue() == ""
    now[0] += 5.0
    bar("encode", 5, 10)
    line = stream.getvalue()
    assert line.startswith("\radding tea · encode")
    assert "5/10" in line
    assert "\n" not in line
    bar.close()
    assert stream.getvalue().endswith("\r")
    shown = stream.getvalue().split("\r")
    assert len(shown[-2]) == len(shown[1])
    assert shown[-2].strip() == ""


def test_time_left_follows_from_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = Terminal()
    bar = display.ProgressBar("fitting", stream)
    bar("train", 0, 40)
    now[0] = 10.0
    bar("train", 10, 40)
    assert stream.getvalue().endswith("10/40 · 30 s left")


def test_no_bar_without_a_terminal_and_one_when_forced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with display.progress_for(None, "x") as report:
        assert report is None
    with display.progress_for(False, "x") as report:
        assert report is None
    with display.progress_for(True, "x") as report:
        assert isinstance(report, display.ProgressBar)
    calls: list[str] = []

    def callback(stage: str, done: int, total: int) -> None:
        calls.append(stage)

    with display.progress_for(callback, "x") as report:
        assert report is callback
    assert capsys.readouterr() == ("", "")


def test_text_in_html_is_escaped() -> None:
    assert display.text_html("<b>") == "<pre>&lt;b&gt;</pre>"
