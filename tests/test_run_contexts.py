# SPDX-License-Identifier: GPL-2.0-or-later
"""No big lock, shown: every public method of everything that has a home says which thread may call it.

That the marks are obeyed is what ``no_violations`` in conftest.py checks, in every test of the suite.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Final

import pytest

import asyncemu
from asyncemu.loop.markers import HasHome, mark_of
from asyncemu.plugins import Plugin

#: Classes whose methods are called by their own kind only, so often that even the call of a decorator's wrapper in
#: debug runs would change what the tests measure or wait for; their docstrings say who calls what.
EXCEPTIONS: Final = {
    "asyncemu.loop.bottom_half_queue.BottomHalfQueue": "the inside of AioContext; called around each of its callbacks",
    "asyncemu.loop.timer.TimerList": "the inside of AioContext and Clock",
    "asyncemu.loop.context.AioContext": {"woken", "settle"},
}


@cache
def classes() -> dict[str, type]:
    """All classes of asyncemu, by their full names."""
    found: dict[str, type] = {}
    for module in pkgutil.walk_packages(asyncemu.__path__, "asyncemu."):
        if module.name.endswith(".__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(value) and value.__module__ == module.name:
                found[f"{module.name}.{value.__qualname__}"] = value
    return found


def has_home(cls: type) -> bool:
    """Has it an attribute ``context``: annotated, a property, or set by a method; its own or inherited?"""
    return any(_gives_a_home(base) for base in cls.__mro__ if base.__module__.startswith("asyncemu"))


@cache
def _gives_a_home(cls: type) -> bool:
    if "context" in vars(cls) or "context" in vars(cls).get("__annotations__", {}):
        return True
    tree = ast.parse(inspect.getsource(cls).strip() if cls.__qualname__ == cls.__name__ else "")
    targets: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    return any(ast.unparse(target) == "self.context" for target in targets)


def public_methods(cls: type) -> Iterator[str]:
    """Methods and property setters that ``cls`` defines itself."""
    for name, member in vars(cls).items():
        setter = isinstance(member, property) and member.fset is not None
        if not name.startswith("_") and (inspect.isfunction(member) or setter):
            yield name


def excepted(full_name: str, method: str) -> bool:
    exception = EXCEPTIONS.get(full_name, set())
    return isinstance(exception, str) or method in exception


def test_every_public_method_says_where_it_may_be_called() -> None:
    unmarked = [
        f"{full_name}.{method}"
        for full_name, cls in classes().items()
        if has_home(cls)
        for method in public_methods(cls)
        if not mark_of(cls, method) and not excepted(full_name, method)
    ]

    assert unmarked == []


def test_exceptions_are_still_needed() -> None:
    missing = set(EXCEPTIONS) - set(classes())

    assert missing == set()


def test_plugins_with_a_home_hold_their_authors_to_the_marks() -> None:
    """An override by an author who has not heard of marks is checked too."""
    without = [
        full_name
        for full_name, cls in classes().items()
        if issubclass(cls, Plugin) and has_home(cls) and not issubclass(cls, HasHome)
    ]

    assert without == []


def test_what_overrides_a_marked_method_without_a_mark_is_checked() -> None:
    """Also among our own classes: either the base is a HasHome, or the override says it again."""
    unchecked = [
        f"{full_name}.{method}"
        for full_name, cls in classes().items()
        if has_home(cls) and not issubclass(cls, HasHome)
        for method in public_methods(cls)
        if mark_of(cls, method) and not _own_mark(cls, method)
    ]

    assert unchecked == []


def _own_mark(cls: type, method: str) -> str:
    member = vars(cls)[method]
    return str(getattr(member.fset if isinstance(member, property) else member, "__run_context__", ""))


@pytest.mark.parametrize(
    ("full_name", "expected"),
    [
        ("asyncemu.loop.timer.Timer", True),  # a property
        ("asyncemu.block.driver.BlockDriver", True),  # set by __init__
        ("asyncemu.block.null_co.NullDriver", True),  # inherited
        ("asyncemu.loop.clock.Clock", False),
        ("asyncemu.loop.event_notifier.EventNotifier", False),
    ],
)
def test_has_home_finds_the_attribute(full_name: str, expected: bool) -> None:
    assert has_home(classes()[full_name]) is expected
