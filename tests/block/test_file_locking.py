# SPDX-License-Identifier: GPL-2.0-or-later
"""Image locks among ourselves and against QEMU's tools."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers

needs_qemu_io = pytest.mark.skipif(shutil.which("qemu-io") is None, reason="qemu-io is not installed (qemu-utils)")


def table(**options: Any) -> dict[str, Any]:
    return {"driver": "file", "filename": "disk.img", **options}


async def refused(graph: BlockGraph, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        await graph.add_table(table(**options), "blockdev[1]")
    return str(caught.value)


@pytest.fixture
def qemu_io(image: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A qemu-io that has the image open for writing, and waits."""
    command = ["qemu-io", "-f", "raw", image.name]
    with subprocess.Popen(command, cwd=image.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"length\n")
        process.stdin.flush()
        # Its answer shows that the image is open.
        while b"64 KiB" not in process.stdout.readline():
            assert process.poll() is None
        yield process
        process.stdin.close()
        process.wait()


def run(image: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=image.parent, capture_output=True, text=True, timeout=30, check=False)


def run_qemu_io(image: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run(image, "qemu-io", *options, "-f", "raw", "-c", "read 0 512", image.name)


async def test_second_writer_is_refused_with_one_line(graph: BlockGraph, image: Path) -> None:
    await graph.add_table(table(), "blockdev[0]")
    assert await refused(graph) == (
        f"blockdev[1].filename: {image}: is locked by another process (another asyncemu or QEMU?); "
        'end that process, or set locking = "off" if it can\'t harm'
    )


async def test_reader_beside_a_writer_is_refused(graph: BlockGraph, image: Path) -> None:
    await graph.add_table(table(), "blockdev[0]")
    assert "is locked" in await refused(graph, **{"read-only": True})


async def test_writer_beside_a_reader_is_refused(graph: BlockGraph, image: Path) -> None:
    await graph.add_table(table(**{"read-only": True}), "blockdev[0]")
    assert "is locked" in await refused(graph)


async def test_two_readers_share(graph: BlockGraph, image: Path) -> None:
    first = await graph.add_table(table(**{"read-only": True}), "blockdev[0]")
    second = await graph.add_table(table(**{"read-only": True}), "blockdev[1]")
    assert first.size == second.size


async def test_locking_off_ignores_the_lock(graph: BlockGraph, image: Path) -> None:
    await graph.add_table(table(), "blockdev[0]")
    node = await graph.add_table(table(locking="off"), "blockdev[1]")
    await node.pwritev(0, Buffers.of(b"x"))


async def test_close_drops_the_lock(graph: BlockGraph, image: Path) -> None:
    await graph.remove(await graph.add_table(table(), "blockdev[0]"))
    await graph.add_table(table(), "blockdev[1]")


async def test_exclusive_lock_of_a_stranger_is_a_conflict(graph: BlockGraph, image: Path) -> None:
    with image.open("r+b") as stranger:
        fcntl.lockf(stranger, fcntl.LOCK_EX)
        assert "is locked" in await refused(graph)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
async def test_file_system_without_locks_opens_unless_told_to_lock(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_locks(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "fcntl", no_locks)
    await graph.add_table(table(), "blockdev[0]")
    assert await refused(graph, locking="on") == (
        f'blockdev[1].locking: the file system of {image} has no locks; use "auto"'
    )


@needs_qemu_io
async def test_qemu_writer_keeps_us_out(graph: BlockGraph, image: Path, qemu_io: subprocess.Popen[bytes]) -> None:
    assert "is locked by another process" in await refused(graph)
    assert "is locked by another process" in await refused(graph, **{"read-only": True})


@needs_qemu_io
async def test_we_as_writer_keep_qemu_out(graph: BlockGraph, image: Path) -> None:
    await graph.add_table(table(), "blockdev[0]")
    # qemu-io -r would pass, beside a QEMU writer too: it does not mind who writes. A copy does.
    writer, reader = run_qemu_io(image), run(image, "qemu-img", "convert", "-O", "raw", image.name, "copy.img")
    assert (writer.returncode, reader.returncode) == (1, 1)
    assert 'Failed to get "write" lock' in writer.stderr
    assert 'Failed to get shared "write" lock' in reader.stderr


@needs_qemu_io
async def test_we_as_reader_share_with_a_qemu_reader_only(graph: BlockGraph, image: Path) -> None:
    await graph.add_table(table(**{"read-only": True}), "blockdev[0]")
    assert (run_qemu_io(image, "-r").returncode, run_qemu_io(image).returncode) == (0, 1)
