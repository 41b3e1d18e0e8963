# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that can't be read, one line each."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import NoReturn

import pytest

from asyncemu.errors import ConfigError
from asyncemu.machine.loader import load_blob


def problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_blob(path, "machine.initrd")
    return str(caught.value)


def test_load_blob_file_gives_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(b"070701")
    assert bytes(load_blob(path, "machine.initrd")) == b"070701"


def test_load_blob_file_is_mapped_not_read(tmp_path: Path) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(b"070701")
    assert isinstance(load_blob(path, "machine.initrd").obj, mmap.mmap)


def test_load_blob_missing_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "initrd"
    assert problem(path) == (
        f"machine.initrd: {path}: no such file or directory; give the path of a file that can be read"
    )


def test_load_blob_directory_says_so(tmp_path: Path) -> None:
    assert problem(tmp_path) == f"machine.initrd: {tmp_path}: is a directory; give the path of a file"


def test_load_blob_fifo_without_writer_says_so(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    assert problem(path) == f"machine.initrd: {path}: is not a regular file; give the path of a file"


def test_load_blob_empty_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "initrd"
    path.touch()
    assert problem(path) == f"machine.initrd: {path}: is empty; copy or download the file again"


def test_load_blob_name_with_nul_says_so() -> None:
    assert problem(Path("a\0b")) == (
        "machine.initrd: 'a\\x00b': no file has such a name; give the path of a file that can be read"
    )


def test_load_blob_name_with_line_break_stays_one_line(tmp_path: Path) -> None:
    assert "\n" not in problem(tmp_path / "a\nb")


def refuse(*_: object, **__: object) -> NoReturn:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_load_blob_file_without_permission_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", refuse)  # chmod would not stop root
    assert problem(Path("k")) == "machine.initrd: k: permission denied; give the path of a file that can be read"


def test_load_blob_file_that_cannot_be_mapped_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(b"070701")
    monkeypatch.setattr(mmap, "mmap", refuse)
    assert problem(path) == f"machine.initrd: {path}: permission denied; give the path of a file that can be read"
