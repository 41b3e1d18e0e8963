# SPDX-License-Identifier: GPL-2.0-or-later
"""Files beside the images that a tool reads or writes while its loop runs: aiofiles's; what is in images never is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import aiofiles
import pytest

import asyncemu.block
from asyncemu.cli.io.buffers import from_file
from asyncemu.cli.nbd.daemon import write_pid_file
from asyncemu.cli.tools.objects import UserObjects, secret


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files that aiofiles opens from now on."""
    names: list[str] = []
    original = aiofiles.open

    def record(name: str, *arguments: object, **named: object) -> object:
        names.append(Path(name).name)
        return original(name, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(aiofiles, "open", record)
    return names


async def test_pid_file_is_written_by_aiofiles(tmp_path: Path, opened: list[str]) -> None:
    file = await write_pid_file(str(tmp_path / "pid"))
    assert opened == ["pid"]
    assert (tmp_path / "pid").read_text().endswith("\n")
    await file.close()


async def test_pattern_file_is_read_by_aiofiles(tmp_path: Path, opened: list[str]) -> None:
    (tmp_path / "pattern").write_bytes(b"abc")
    assert bytes(await from_file(7, str(tmp_path / "pattern"), False)) == b"abcabca"
    assert opened == ["pattern"]


def test_no_module_of_the_block_layer_imports_aiofiles() -> None:
    (package,) = asyncemu.block.__path__
    importing = [path for path in Path(package).rglob("*.py") if "aiofiles" in path.read_text(encoding="utf-8")]
    assert not importing


def test_tool_that_has_no_side_file_does_not_import_aiofiles(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    code = "import sys; from asyncemu.cli.io import main; main(sys.argv); print('aiofiles' in sys.modules)"
    words = ("-f", "raw", "-c", "read -q 0 512", "-c", "write -q 0 512", str(tmp_path / "disk"))
    found = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "False\n"


def test_secret_of_a_pipe_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"first")
    objects = UserObjects()
    objects.add(f"secret,id=s0,file={tmp_path / 'key'}")
    (tmp_path / "key").write_bytes(b"second")
    (found,) = objects.all("secret")
    assert secret(found) == b"first"
