# SPDX-License-Identifier: GPL-2.0-or-later
"""``asyncemu new``: what it writes works, as a new user would find out."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncemu.cli import main
from asyncemu.cli.new.kinds import KINDS
from asyncemu.cli.new.package import MODULES, rendered
from asyncemu.plugins import Plugin

#: As long as a name may be: lines must not become too long for ruff.
NAME = "a-thing-with-a-long-name"


def run(directory: Path, *words: str) -> str:
    """What ``python -m ...`` says there; it must succeed."""
    environment = {**os.environ, "NO_COLOR": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=directory, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mypy's: the second package is checked faster."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_package_passes_its_own_tests_mypy_and_ruff(kind: str, tmp_path: Path, cache: Path) -> None:
    directory = tmp_path / "here"
    assert main(["new", kind, NAME, "--directory", str(directory)]) == 0

    tests = run(directory, "pytest", "-q", "-p", "no:cacheprovider")
    types = run(directory, "mypy", "--cache-dir", str(cache))
    lint = run(directory, "ruff", "check", "--no-cache", ".")
    run(directory, "ruff", "format", "--no-cache", "--check", ".")

    assert "passed" in tests and "failed" not in tests
    assert types.startswith("Success")
    assert lint.startswith("All checks passed!")


@pytest.mark.parametrize("kind", list(KINDS))
def test_pyproject_has_the_entry_point_and_the_package(kind: str) -> None:
    contents = rendered(kind, "my-part")
    project = tomllib.loads(contents["pyproject.toml"])

    assert project["project"]["name"] == "my-part"
    assert project["project"]["entry-points"]["asyncemu.plugins"] == {"my-part": "my_part"}
    assert project["tool"]["setuptools"]["packages"] == ["my_part"]
    assert f"my_part/{MODULES[kind]}.py" in contents


@pytest.mark.parametrize("kind", list(KINDS))
def test_nothing_of_a_template_is_left(kind: str) -> None:
    assert all("$" not in text for text in rendered(kind, "my-part").values())


def test_loaded_the_package_is_known_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main(["new", "device", "loaded-clock", "--directory", str(tmp_path / "clock")])
    monkeypatch.syspath_prepend(str(tmp_path / "clock"))

    __import__("loaded_clock")

    assert Plugin.registry["device"]["loaded-clock"].__module__ == "loaded_clock.device"
    del Plugin.registry["device"]["loaded-clock"]


def test_says_what_it_has_written_and_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["new", "block", "my-disk"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "my-disk/my_disk/driver.py" in lines
    assert lines[-1] == "next: cd my-disk && pip install -e '.[dev]' && pytest"
    assert all((tmp_path / line).is_file() for line in lines[:-1])


@pytest.mark.parametrize("what", ["file", "directory", "link"])
def test_what_is_there_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    there = tmp_path / "there"
    make: dict[str, Callable[[], object]] = {
        "file": lambda: there.write_text("mine"),
        "directory": lambda: there.mkdir(),
        "link": lambda: there.symlink_to("nowhere"),
    }
    make[what]()

    assert main(["new", "block", "my-disk", "--directory", str(there)]) == 2

    assert capsys.readouterr().err == f"asyncemu: {there}: is there already; name another --directory, or remove it\n"
    assert list(tmp_path.iterdir()) == [there]


def test_directory_that_can_t_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "net", "my-net", "--directory", str(tmp_path / "no" / "where")]) == 2

    assert capsys.readouterr().err == (f"asyncemu: {tmp_path}/no/where: can't be written: No such file or directory\n")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["device", "My"], "name: 'My' can't be used; small letters, digits and dashes, like my-clock"),
        (["device"], "command line: the following arguments are required: name; see asyncemu new --help"),
        (["disk", "x"], "command line: argument kind: invalid choice: 'disk' (choose from 'device', "),
    ],
)
def test_wrong_command_line_is_one_line(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", *words]) == 2

    assert capsys.readouterr().err.startswith(f"asyncemu: {problem}")
