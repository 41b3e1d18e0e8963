# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m fuzz``: lists, replays, and reports an input that fails."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import __main__ as program
from fuzz.targets import NAMES, Target, image_name

ROOT = Path(__file__).resolve().parents[2]

needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed: it has no wheel for this Python"
)


@pytest.fixture
def without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own process keeps its memory."""
    monkeypatch.setattr(program, "limit_memory", lambda: None)


def broken(data: bytes) -> None:
    if data.startswith(b"bad"):
        raise ZeroDivisionError("a defect")


@pytest.fixture
def broken_target(monkeypatch: pytest.MonkeyPatch, without_limit: None) -> None:
    """All targets fail when their input begins with ``bad``."""
    monkeypatch.setattr(program, "load", lambda name: Target(name, "", broken, lambda: [b""]))


def test_list_names_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(NAMES)
    assert all(line.partition(": ")[2] for line in lines)


@pytest.mark.usefixtures("without_limit")
def test_replay_of_a_good_input_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "input"
    file.write_bytes(image_name.seeds()[0])

    assert program.main(["replay", "image_name", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: fine\n"


@pytest.mark.usefixtures("broken_target")
def test_replay_of_a_bad_input_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(b"good")
    bad.write_bytes(b"bad")

    assert program.main(["replay", "virtqueue", str(good), str(bad)]) == 1
    written = capsys.readouterr()
    assert written.out == f"{good}: fine\n"
    assert written.err.startswith(f"{bad}: fails\nTraceback")
    assert written.err.endswith("ZeroDivisionError: a defect\n")


@pytest.mark.usefixtures("without_limit")
def test_replay_of_no_file_can_not_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["replay", "virtqueue", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"fuzz: {tmp_path / 'none'}: No such file or directory\n"


def test_run_without_atheris_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert program.main(["run", "virtqueue", "--seconds", "1"]) == 2
    assert capsys.readouterr().err.startswith("fuzz: atheris is not installed")


def fuzz(folder: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """``python -m fuzz`` in ``folder``."""
    environment = {**os.environ, "PYTHONPATH": f"{path}:{ROOT}"}
    command = [sys.executable, "-m", "fuzz", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@needs_atheris
@pytest.mark.slow
def test_run_of_a_broken_target_keeps_the_input(tmp_path: Path) -> None:
    # As if the reader of names had a defect: Python imports it before all else.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'fuzz.targets.image_name':\n"
        "            import importlib.util\n"
        "            return importlib.util.spec_from_file_location(name, __file__.replace('sitecustomize', 'broken'))\n"
        "sys.meta_path.insert(0, Broken())\n"
    )
    (tmp_path / "broken.py").write_text(
        "def fuzz_one(data):\n    if data[:1] == b'!':\n        raise ZeroDivisionError('a defect')\n"
        "def seeds():\n    return [b'?']\n"
    )

    ended = fuzz(tmp_path, "run", "image_name", "--seconds", "30", "--seed", "7", path=str(tmp_path))

    assert ended.returncode == 1, ended.stderr
    assert "ZeroDivisionError: a defect" in ended.stdout + ended.stderr
    (crash,) = tmp_path.glob("crash-*")
    assert crash.read_bytes()[:1] == b"!"
    replayed = fuzz(tmp_path, "replay", "image_name", crash.name, path=str(tmp_path))
    assert replayed.returncode == 1
    assert replayed.stderr.endswith("ZeroDivisionError: a defect\n")


@needs_atheris
@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_run_finds_nothing(name: str, tmp_path: Path) -> None:
    ended = fuzz(tmp_path, "run", name, "--seconds", "20")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Done " in ended.stderr
