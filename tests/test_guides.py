# SPDX-License-Identifier: GPL-2.0-or-later
"""The guides, as a new user tries them: with what is on the page, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from asyncemu.config import load
from asyncemu.config.dry_run import dry_run
from guests import fetch

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
HEADER = "# SPDX-License-Identifier: GPL-2.0-or-later\n"

guides = pytest.mark.parametrize("guide", GUIDES, ids=[guide.stem for guide in GUIDES])


def pages_files(guide: Path) -> dict[str, str]:
    """The files that the page tells to write: name → contents."""
    return dict(re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```$", guide.read_text(), re.M | re.S))


def write_files(guide: Path, directory: Path) -> None:
    for name, text in pages_files(guide).items():
        (directory / name).write_text(text)


def run(directory: Path, *words: str, **environment: str) -> str:
    """What ``python -m ...`` says there; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=directory,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_are_five() -> None:
    assert [guide.stem for guide in GUIDES] == ["block-driver", "filter", "mmio-device", "net-backend", "virtio-device"]


@guides
def test_files_of_the_page_are_those_of_the_examples(guide: Path) -> None:
    folder = ROOT / "examples" / "guides" / guide.stem
    examples = {path.name: path.read_text().removeprefix(HEADER) for path in folder.iterdir() if path.is_file()}

    assert pages_files(guide) == examples


@guides
def test_tests_of_the_page_pass(guide: Path, tmp_path: Path) -> None:
    write_files(guide, tmp_path)
    assert "    pytest --asyncio-mode=auto\n" in guide.read_text()

    said = run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "--asyncio-mode=auto")

    assert re.search(r"^\d+ passed", said, re.M)


@pytest.mark.parametrize("guide", [guide for guide in GUIDES if guide.stem != "virtio-device"], ids=lambda it: it.stem)
def test_vm_toml_of_the_page_is_right(guide: Path, tmp_path: Path) -> None:
    write_files(guide, tmp_path)
    assert "    asyncemu check vm.toml\n" in guide.read_text()

    assert dry_run(load(tmp_path / "vm.toml")) == []


@pytest.mark.guest
@pytest.mark.slow
def test_linux_program_of_the_virtio_guide_talks_to_the_device(tmp_path: Path) -> None:
    """The page's own commands, in a checkout whose guest has been fetched."""
    guide = ROOT / "docs" / "guides" / "virtio-device.md"
    write_files(guide, tmp_path)
    (tmp_path / "guests").mkdir()
    (tmp_path / "guests" / "cache").symlink_to(fetch.ensure().directory.parent)
    (tmp_path / "guests" / "virtiotalk").symlink_to(ROOT / "guests" / "virtiotalk")
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", guide.read_text(), re.M | re.S)
    (expected,) = re.findall(r"^```text\n(.*?)^```$", guide.read_text(), re.M | re.S)
    fetched, _, rest = commands.partition("\n")
    rest = rest.replace("asyncemu vm.toml", f"{sys.executable} -m asyncemu vm.toml")

    done = subprocess.run(
        ["sh", "-ec", rest], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )

    assert fetched == "python -m guests.fetch"
    assert done.returncode == 0, done.stdout + done.stderr
    assert expected in done.stdout.replace("\r\n", "\n")
