# SPDX-License-Identifier: GPL-2.0-or-later
"""Plug-ins: how they are named and found, by name, by entry point and by path."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu.builtin import BUILTIN
from asyncemu.errors import ConfigError
from asyncemu.options import Options
from asyncemu.plain_options import PlainOptions
from asyncemu.plugins import ENTRY_POINT_GROUP, OptionsT, Plugin, find, load_all, names
from asyncemu.spelling import nearest


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers or imports from a file is forgotten after it; what is shipped is not: it registers once."""
    load_all()
    monkeypatch.setattr(Plugin, "registry", {kind: dict(classes) for kind, classes in Plugin.registry.items()})
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("asyncemu_plugin_"):
            del sys.modules[name]


class ShelfOptions(Options):
    width: int = 1


class Shelf(Plugin[OptionsT]):
    """An abstract base of one kind."""

    kind = "shelf"


class Wide(Shelf[ShelfOptions], name="wide"): ...


class Wider(Wide, name="wider"): ...


class Unnamed(Wide): ...


@pytest.fixture
def shelves() -> None:
    """The classes above, in the registry of this test."""
    Plugin.registry["shelf"] = {"wide": Wide, "wider": Wider}


# ---- classes


def test_class_options_are_its_type_argument_and_inherited() -> None:
    assert [cls.options_type for cls in (Shelf, Wide, Wider, Unnamed)] == [PlainOptions, *[ShelfOptions] * 3]


def test_class_without_a_name_is_abstract() -> None:
    assert (Unnamed.name, Shelf.name, Wider.name) == ("", "", "wider")


def test_class_registers_itself_under_its_kind() -> None:
    class Narrow(Shelf[Options], name="narrow"): ...

    assert Plugin.registry["shelf"]["narrow"] is Narrow


def test_options_keys_have_dashes_for_underscores() -> None:
    class Keys(Options):
        read_only: bool = False
        type_: str = ""

    assert Keys.model_validate({"read-only": True, "type": "x"}).model_dump() == {"read_only": True, "type_": "x"}


# ---- by name


def test_find_registered_name_gives_the_class(shelves: None) -> None:
    assert find("shelf", "wide", "shelf[0].driver") is Wide


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in BUILTIN.items() for name in table])
def test_find_everything_that_is_shipped_is_there(kind: str, name: str) -> None:
    found = find(kind, name, "here")

    assert (found.kind, found.name) == (kind, name)


def test_find_misspelt_name_offers_the_nearest(shelves: None) -> None:
    with pytest.raises(ConfigError) as raised:
        find("shelf", "wyde", "shelf[0].driver")

    assert (raised.value.where, raised.value.remedy) == ("shelf[0].driver", "did you mean 'wide'?")
    assert "'wyde'" in raised.value.problem


def test_find_name_like_no_other_lists_all(shelves: None) -> None:
    with pytest.raises(ConfigError) as raised:
        find("shelf", "zzzz", "shelf[0].driver")

    assert raised.value.remedy == "known: wide, wider"


def test_names_are_sorted_and_hold_what_is_shipped_and_what_is_registered(shelves: None) -> None:
    assert names("shelf") == ["wide", "wider"]
    assert set(BUILTIN["blockdev"]) <= set(names("blockdev"))
    assert names("no such kind") == []


@pytest.mark.parametrize(
    ("name", "known", "remedy"),
    [
        ("fiel", ["file", "null"], "did you mean 'file'?"),
        ("xyz", ["file", "null"], "known: file, null"),
        ("xyz", [], ""),
        ("", ["file"], "known: file"),
        ("x" * 100_000, ["file"], "known: file"),
    ],
)
def test_nearest_known_name_or_all(name: str, known: list[str], remedy: str) -> None:
    assert nearest(name, known) == remedy


# ---- by entry point


class EntryPoint:
    value = "some.module"

    def __init__(self, name: str, outcome: Exception | None) -> None:
        self.name = name
        self._outcome = outcome

    def load(self) -> None:
        if self._outcome is not None:
            raise self._outcome
        type("Far", (Shelf,), {}, name=self.name)


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """What other distributions offer."""
    offered: list[EntryPoint] = []
    groups = {ENTRY_POINT_GROUP: offered}
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: groups[group])
    return offered


def test_find_entry_point_s_class_is_found(entry_points: list[EntryPoint]) -> None:
    entry_points.append(EntryPoint("far", None))

    assert find("shelf", "far", "here").name == "far"


def test_find_broken_entry_point_does_not_hide_the_others(entry_points: list[EntryPoint]) -> None:
    entry_points.extend([EntryPoint("broken", ImportError("no such module")), EntryPoint("far", None)])

    assert find("shelf", "far", "here").name == "far"


def test_find_broken_entry_point_and_unknown_name_is_a_config_error(entry_points: list[EntryPoint]) -> None:
    entry_points.append(EntryPoint("broken", ImportError("no such module")))

    with pytest.raises(ConfigError, match=r"here: .*'far'"):
        find("shelf", "far", "here")


# ---- by path

MODULE = """
from tests.test_plugins import Shelf, ShelfOptions

class Mine(Shelf[ShelfOptions], name="mine"):
    number = {number}

class NotAPlugin: ...
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(MODULE.format(number=1))
    return file


def test_path_relative_gives_the_class(module: Path) -> None:
    found: Any = find("shelf", "", "here", "mine.py:Mine", module.parent)

    assert (found.__name__, found.number, found.options_type.__name__) == ("Mine", 1, "ShelfOptions")


def test_path_absolute_gives_the_class(module: Path, tmp_path: Path) -> None:
    assert find("shelf", "", "here", f"{module}:Mine", Path("/nowhere")).__name__ == "Mine"


def test_path_twice_is_imported_once(module: Path) -> None:
    first, second = (find("shelf", "", "here", "mine.py:Mine", module.parent) for _ in range(2))

    assert first is second


def test_path_same_file_name_in_another_directory_is_another_class(module: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.py").write_text(MODULE.format(number=2))

    found: list[Any] = [find("shelf", "", "here", "mine.py:Mine", where) for where in (tmp_path, other)]

    assert [each.number for each in found] == [1, 2]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("mine.py", "here: 'mine.py' names no class; write \"file.py:ClassName\""),
        ("mine.py:", "here: 'mine.py:' names no class; write \"file.py:ClassName\""),
        ("absent.py:Mine", "here: {tmp}/absent.py: no such Python file"),
        (".:Mine", "here: {tmp}: no such Python file"),
        ("mine.txt:Mine", "here: {tmp}/mine.txt: no such Python file"),
        ("mine.py:Other", "here: {tmp}/mine.py has no plug-in class 'Other'"),
        ("mine.py:NotAPlugin", "here: {tmp}/mine.py has no plug-in class 'NotAPlugin'"),
    ],
)
def test_path_wrong_is_a_config_error(module: Path, path: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        find("shelf", "", "here", path, module.parent)

    assert str(raised.value) == message.format(tmp=module.parent)


def test_path_class_of_another_kind_is_refused(module: Path) -> None:
    with pytest.raises(ConfigError, match=r"here: Mine is for \[\[shelf\]\], not for \[\[device\]\]"):
        find("device", "", "here", "mine.py:Mine", module.parent)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise ValueError('one\\ntwo')", "ValueError: one"),
        ("def", "SyntaxError: invalid syntax"),
    ],
)
def test_path_module_that_fails_is_one_line_and_may_be_repaired(module: Path, source: str, problem: str) -> None:
    good = module.read_text()
    module.write_text(source)

    with pytest.raises(ConfigError) as raised:
        find("shelf", "", "here", "mine.py:Mine", module.parent)
    module.write_text(good + "# so that its size differs\n")
    found = find("shelf", "", "here", "mine.py:Mine", module.parent)

    assert str(raised.value) == f"here: {problem}, at {module}:1"
    assert found.__name__ == "Mine"


def test_class_that_hides_a_part_of_ours_is_refused() -> None:
    from asyncemu.devices import MmioDevice
    from asyncemu.options import Options

    with pytest.raises(TypeError, match=r"^Hides\._read hides a part of MmioDevice: choose another name$"):

        class Hides(MmioDevice[Options], name="hides", size=0x1000):
            def _read(self) -> int:  # type: ignore[override]
                return 1
