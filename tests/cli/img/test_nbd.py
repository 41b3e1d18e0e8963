# SPDX-License-Identifier: GPL-2.0-or-later
"""Images on an NBD server, which is qemu-nbd."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.img.conftest import Tools

#: Path of the socket, as short as such paths must be.
SOCKET = "s"
URI = f"nbd+unix:///?socket={SOCKET}"


@pytest.fixture
def served(tools: Tools) -> Iterator[Tools]:
    """The images ``raw`` (ours) and ``other`` (theirs) are exported where each program runs."""
    tools.take("raw", "other")
    pids = []
    for directory in (tools.our_directory, tools.their_directory):
        # It goes to the background when it listens.
        words = ["qemu-nbd", "-f", "raw", "-t", "-e", "9", "-k", str(directory / SOCKET), "--fork"]
        subprocess.run([*words, "--pid-file", str(directory / "pid"), "other"], check=True, cwd=directory)
        pids.append(int((directory / "pid").read_text()))
    yield tools
    for pid in pids:
        os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize(
    "words",
    [
        ["info", URI],
        ["info", "--output=json", URI],
        ["map", "--output=json", URI],
        ["compare", "raw", URI],
        ["measure", "-O", "qcow2", URI],
        ["convert", "-O", "qcow2", URI, "o"],
        ["convert", "-n", "-f", "raw", "-O", "raw", "raw", URI],
        ["create", "-f", "qcow2", URI, "512k"],
        ["create", "-f", "qcow2", URI, "4M"],
        ["convert", "-O", "raw", "raw", URI],
    ],
    ids=" ".join,
)
def test_export_is_used_as_by_qemu_img(served: Tools, words: list[str]) -> None:
    ours, theirs = served.both(*words)
    assert ours == theirs
    assert set(served.different_files()) <= {"pid", SOCKET}


def test_name_of_an_export_is_told(tmp_path: Path, tools: Tools) -> None:
    ours, theirs = tools.both("info", "nbd:unix:/nonexistent:exportname=x")
    assert ours == theirs
