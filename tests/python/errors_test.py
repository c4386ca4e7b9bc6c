from __future__ import annotations

import builtins
from pathlib import Path

import pytest

import collegium
from collegium import _core, errors

BASES = {
    "invalid_argument": (collegium.InvalidArgumentError, ValueError),
    "not_found": (collegium.NotFoundError, LookupError),
    "already_exists": (collegium.AlreadyExistsError, ValueError),
    "failed_precondition": (collegium.FailedPreconditionError, RuntimeError),
    "corruption": (collegium.CorruptionError, RuntimeError),
    "not_supported": (collegium.NotSupportedError, NotImplementedError),
    "busy": (collegium.BusyError, OSError),
    "io_error": (collegium.IoError, OSError),
    "resource_exhausted": (collegium.ResourceExhaustedError, OSError),
    "cancelled": (collegium.CancelledError, RuntimeError),
    "internal": (collegium.InternalError, RuntimeError),
}


@pytest.mark.parametrize("code", BASES)
def test_every_code_has_a_class_with_our_base_and_a_builtin_one(code: str) -> None:
    ours, builtin = BASES[code]
    assert errors.error_class(code) is ours
    assert issubclass(ours, collegium.Error)
    assert issubclass(ours, builtin)
    assert str(ours("what, seen, allowed")) == "what, seen, allowed"


def test_every_public_error_class_has_a_code() -> None:
    public = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.Error)
    }
    assert public - {errors.Error} == {ours for ours, _ in BASES.values()}


def test_codes_are_those_of_the_header() -> None:
    header = Path(__file__).parents[2] / "cpp/include/collegium/core/status.h"
    body = header.read_text().split("enum class StatusCode")[1].split("};")[0]
    names = [line.split("=")[0].strip() for line in body.splitlines() if " = " in line]

    def snake(name: str) -> str:
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name[1:]).lstrip("_")

    assert {snake(name) for name in names if name != "kOk"} == set(BASES)


def test_a_status_becomes_its_class_with_its_message() -> None:
    with pytest.raises(collegium.NotFoundError, match="no-such-folder") as caught:
        _core.Encoder.load("no-such-folder")
    assert isinstance(caught.value, LookupError)


def test_a_message_with_bytes_that_are_not_utf8_is_shown_escaped() -> None:
    with pytest.raises(collegium.NotFoundError, match=r"\\xff"):
        _core.Encoder.load(b"no-\xff-folder")


def test_wrong_types_are_type_errors() -> None:
    with pytest.raises(TypeError):
        _core.Encoder.load(3)  # type: ignore[arg-type]
    assert builtins.TypeError not in collegium.Error.__mro__
