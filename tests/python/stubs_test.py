"""_core.pyi says exactly what the binary has: names, kinds, parameters and defaults."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import collegium
from collegium import _core

STUB = ast.parse((Path(collegium.__file__).parent / "_core.pyi").read_text(encoding="utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}
# What every pybind11 class has, and text forms, which typeshed's object declares already.
IMPLIED = {"__init__", "__new__", "__module__", "__doc__", "__repr__", "__str__"}
IMPLIED |= {"__weakref__", "__dict__", "_pybind11_conduit_v1_"}


def public_names(value: Any) -> set[str]:
    return {
        name
        for name in vars(value)
        if name not in IMPLIED and (not name.startswith("__") or name == "__len__")
    }


def signature_of(function: Any, name: str) -> tuple[list[str], dict[str, Any]]:
    """Parameter names (with "*" where keywords begin) and defaults, from pybind11's docstring."""
    match = re.match(rf"{name}\((.*)\)(?: -> .*)?$", (function.__doc__ or "").splitlines()[0])
    assert match, function.__doc__
    # The types are pybind11's own words: cut them out, so that the rest is Python.
    text, depth, parts, part = match.group(1), 0, [], ""
    for char in text:
        depth += (char in "[(") - (char in "])")
        if char == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += char
    parts.append(part)
    names, defaults = [], {}
    for item in (p.strip() for p in parts if p.strip()):
        parameter = item.split(":")[0].strip()
        names.append(parameter)
        if " = " in item:
            defaults[parameter] = ast.literal_eval(item.rsplit(" = ", 1)[1])
    return names, defaults


def stub_signature(node: ast.FunctionDef) -> tuple[list[str], dict[str, Any]]:
    arguments = node.args
    names = [argument.arg for argument in arguments.args]
    defaults = {}
    for argument, default in zip(
        reversed(arguments.args), reversed(arguments.defaults), strict=False
    ):
        defaults[argument.arg] = ast.literal_eval(default)
    if arguments.kwonlyargs:
        names.append("*")
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        names.append(argument.arg)
        if value is not None:
            defaults[argument.arg] = ast.literal_eval(value)
    return names, defaults


def assert_same_signature(function: Any, node: ast.FunctionDef) -> None:
    names, defaults = signature_of(function, node.name)
    expected_names, expected_defaults = stub_signature(node)
    assert names == expected_names, node.name
    assert set(defaults) == set(expected_defaults), node.name
    for name, value in defaults.items():
        expected = expected_defaults[name]
        if isinstance(value, float):  # shown in single precision
            expected = pytest.approx(expected, rel=1e-6)
        assert value == expected, (node.name, name)


def test_module_names_are_those_of_the_stub() -> None:
    assert isinstance(_core, ModuleType)
    in_binary = {name for name in public_names(_core) if not name.startswith("_")}
    assert in_binary == set(CLASSES) | set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_parameters_are_those_of_the_stub(name: str) -> None:
    assert_same_signature(getattr(_core, name), FUNCTIONS[name])


@pytest.mark.parametrize("name", CLASSES)
def test_class_members_are_those_of_the_stub(name: str) -> None:
    members = {node.name: node for node in CLASSES[name].body if isinstance(node, ast.FunctionDef)}
    bound = getattr(_core, name)
    assert public_names(bound) == set(members) - {"__init__"}
    for member, node in members.items():
        value = inspect.getattr_static(bound, member)
        decorators = [d.id for d in node.decorator_list if isinstance(d, ast.Name)]
        if "property" in decorators:
            assert isinstance(value, property), f"{name}.{member}"
            assert value.fset is None, f"{name}.{member} can be set"
        elif "staticmethod" in decorators:
            assert isinstance(value, staticmethod), f"{name}.{member}"
            assert_same_signature(getattr(bound, member), node)
        else:
            assert_same_signature(getattr(bound, member), node)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_without_init_in_the_stub_cannot_be_made(name: str) -> None:
    has_init = any(
        isinstance(node, ast.FunctionDef) and node.name == "__init__" for node in CLASSES[name].body
    )
    if not has_init:
        with pytest.raises(TypeError, match="No constructor defined"):
            getattr(_core, name)()
