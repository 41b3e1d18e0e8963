# SPDX-License-Identifier: GPL-2.0-or-later
"""Image locks among ourselves and against QEMU's tools."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block import BlockBackend, BlockGraph
from asyncemu.block.file.locking import ImageLocks
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE
from asyncemu.errors import ConfigError

needs_qemu_io = pytest.mark.skipif(shutil.which("qemu-io") is None, reason="qemu-io is not installed (qemu-utils)")

READ = PERM_CONSISTENT_READ
WRITE = PERM_CONSISTENT_READ | PERM_WRITE
#: What a disk of a machine leaves to others.
NO_WRITERS = PERM_ALL & ~PERM_WRITE

GET_WRITE = 'Failed to get "write" lock'
GET_SHARED_WRITE = 'Failed to get shared "write" lock'


async def use(
    graph: BlockGraph, permissions: int = WRITE, shared: int = NO_WRITERS, name: str = "disk", **options: Any
) -> BlockBackend:
    """Open the image once more, and want so much of it."""
    node = await graph.add_table(
        {"driver": "file", "node-name": name, "filename": "disk.img", **options}, "blockdev[0]"
    )
    backend = BlockBackend(name, graph.context, permissions, shared)
    await backend.insert(node)
    return backend


async def refused(graph: BlockGraph, permissions: int = WRITE, shared: int = NO_WRITERS, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        await use(graph, permissions, shared, "other", **options)
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


def locks_of(image: Path) -> list[int]:
    """The bytes that anybody has locked: what the kernel would refuse to an exclusive lock."""
    with image.open("rb") as file:
        return [byte for byte in (*range(100, 104), *range(200, 204)) if is_locked(file.fileno(), byte)]


def is_locked(fd: int, byte: int) -> bool:
    question = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    return bool(struct.unpack("@hhqqi4x", fcntl.fcntl(fd, fcntl.F_OFD_GETLK, question))[0] != fcntl.F_UNLCK)


# ---- who holds what


async def test_open_node_that_nobody_uses_locks_nothing(graph: BlockGraph, image: Path) -> None:
    await graph.add_table({"driver": "file", "filename": "disk.img"}, "blockdev[0]")
    assert locks_of(image) == []


async def test_locks_are_permissions_and_what_is_not_shared(graph: BlockGraph, image: Path) -> None:
    backend = await use(graph, WRITE | PERM_RESIZE, PERM_CONSISTENT_READ)
    assert locks_of(image) == [100, 101, 103, 201, 202, 203]
    await backend.remove()
    assert locks_of(image) == []


async def test_locks_follow_a_change_of_permissions(graph: BlockGraph, image: Path) -> None:
    backend = await use(graph, READ, PERM_ALL)
    before = locks_of(image)
    backend.set_permissions(WRITE, NO_WRITERS)
    between = locks_of(image)
    backend.set_permissions(READ, PERM_ALL)
    assert (before, between, locks_of(image)) == ([100], [100, 101, 201], [100])
    await backend.remove()


async def test_two_users_of_one_node_lock_what_both_want(graph: BlockGraph, image: Path) -> None:
    writer = await use(graph, WRITE, PERM_ALL)
    reader = BlockBackend("reader", graph.context, READ, PERM_ALL & ~PERM_RESIZE)
    await reader.insert(writer.node)
    both = locks_of(image)
    await writer.remove()
    assert (both, locks_of(image)) == ([100, 101, 203], [100, 203])
    await reader.remove()


async def test_format_locks_for_itself(graph: BlockGraph, image: Path) -> None:
    """A window is no filter: nobody may cut its file off."""
    table = {"driver": "raw", "size": 512, "file": {"driver": "file", "filename": "disk.img"}}
    await graph.add_table(table, "blockdev[0]")
    assert locks_of(image) == [203]


async def test_close_drops_the_lock(graph: BlockGraph, image: Path) -> None:
    backend = await use(graph)
    node = backend.node
    await backend.remove()
    await graph.remove(node)
    await (await use(graph)).remove()


# ---- conflicts among ourselves


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((WRITE, NO_WRITERS), (WRITE, NO_WRITERS), GET_WRITE),
        ((WRITE, NO_WRITERS), (READ, NO_WRITERS), GET_SHARED_WRITE),
        ((READ, NO_WRITERS), (WRITE, PERM_ALL), GET_WRITE),
        ((READ | PERM_RESIZE, PERM_ALL), (READ, PERM_ALL & ~PERM_RESIZE), 'Failed to get shared "resize" lock'),
        ((READ, PERM_ALL), (READ, PERM_ALL & ~READ), 'Failed to get shared "consistent read" lock'),
    ],
)
async def test_conflict_of_two_nodes_is_refused_in_qemus_words(
    graph: BlockGraph, image: Path, first: tuple[int, int], second: tuple[int, int], expected: str
) -> None:
    backend = await use(graph, *first)
    before = locks_of(image)
    assert await refused(graph, *second) == (f"other: {expected}; Is another process using the image [{image}]?")
    assert locks_of(image) == before
    await backend.remove()


@pytest.mark.parametrize(("permissions", "shared"), [(READ, NO_WRITERS), (WRITE, PERM_ALL)])
async def test_two_that_leave_each_other_alone_share(
    graph: BlockGraph, image: Path, permissions: int, shared: int
) -> None:
    backends = [await use(graph, permissions, shared, name) for name in ("one", "two")]
    assert await backends[0].pread(0, 512) == await backends[1].pread(0, 512)
    for backend in backends:
        await backend.remove()


async def test_change_of_permissions_that_is_refused_leaves_all_as_it_was(graph: BlockGraph, image: Path) -> None:
    reader = await use(graph, READ, NO_WRITERS)
    other = await use(graph, READ, PERM_ALL, "other")
    before = locks_of(image)
    with pytest.raises(ConfigError, match=GET_WRITE):
        other.set_permissions(WRITE, PERM_ALL)
    assert locks_of(image) == before
    await reader.remove()
    other.set_permissions(WRITE, PERM_ALL)
    await other.remove()


async def test_locking_off_ignores_the_lock(graph: BlockGraph, image: Path) -> None:
    first = await use(graph)
    second = await use(graph, name="other", locking="off")
    await second.pwrite(0, b"x")
    for backend in (first, second):
        await backend.remove()


async def test_force_share_reads_beside_a_writer(graph: BlockGraph, image: Path) -> None:
    writer = await use(graph)
    below = {"driver": "file", "filename": "disk.img", "force-share": True, "read-only": True}
    node = await graph.add_table(
        {"driver": "raw", "force-share": True, "read-only": True, "file": below}, "blockdev[1]"
    )
    reader = BlockBackend("reader", graph.context, READ, PERM_ALL)
    await reader.insert(node)
    assert await reader.pread(0, 512) == await writer.pread(0, 512)
    for backend in (reader, writer):
        await backend.remove()


async def test_exclusive_lock_of_a_stranger_is_a_conflict(graph: BlockGraph, image: Path) -> None:
    with image.open("r+b") as stranger:
        fcntl.lockf(stranger, fcntl.LOCK_EX)
        assert "Failed to lock byte 100; Is another process" in await refused(graph)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
async def test_file_system_without_locks_is_used_unless_told_to_lock(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_locks(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "fcntl", no_locks)
    await (await use(graph)).remove()
    assert await refused(graph, locking="on") == f"other: Failed to lock byte 100: {os.strerror(number)}"


sets = st.integers(0, PERM_ALL)


@given(first=st.tuples(sets, sets), second=st.tuples(sets, sets))
@settings(deadline=None)
def test_any_two_conflict_if_one_does_what_the_other_forbids(first: tuple[int, int], second: tuple[int, int]) -> None:
    with tempfile.NamedTemporaryFile() as one, Path(one.name).open("rb") as other:
        ImageLocks(one.fileno(), one.name, "one", required=True).prepare(*first)
        try:
            ImageLocks(other.fileno(), one.name, "other", required=True).prepare(*second)
        except ConfigError:
            conflict = True
        else:
            conflict = False
        left = [is_locked(one.fileno(), byte) for byte in (*range(100, 104), *range(200, 204))]
    assert conflict == bool(first[0] & ~second[1] | second[0] & ~first[1])
    # Who was refused has taken nothing.
    assert not (conflict and any(left))


@given(steps=st.lists(st.tuples(sets, sets, st.booleans()), max_size=8))
@settings(deadline=None)
def test_any_changes_of_permissions_hold_what_was_committed_last(steps: list[tuple[int, int, bool]]) -> None:
    committed = 0, PERM_ALL
    with tempfile.NamedTemporaryFile() as file, Path(file.name).open("rb") as looking:
        locks = ImageLocks(file.fileno(), file.name, "one", required=True)
        for permissions, shared, commits in steps:
            locks.prepare(permissions, shared)
            if commits:
                locks.commit(permissions, shared)
                committed = permissions, shared
            else:
                locks.abort()
        held = [is_locked(looking.fileno(), byte) for byte in (*range(100, 104), *range(200, 204))]
    bits = range(4)
    assert held == [
        *(bool(committed[0] >> bit & 1) for bit in bits),
        *(not committed[1] >> bit & 1 for bit in bits),
    ]


# ---- QEMU's tools


@needs_qemu_io
async def test_qemu_writer_keeps_us_out(graph: BlockGraph, image: Path, qemu_io: subprocess.Popen[bytes]) -> None:
    assert f"{GET_SHARED_WRITE}; Is another process using the image [{image}]?" in await refused(
        graph, READ, NO_WRITERS
    )
    backend = await use(graph, READ, PERM_ALL)
    await backend.remove()


@needs_qemu_io
async def test_we_as_writer_keep_qemu_out(graph: BlockGraph, image: Path) -> None:
    backend = await use(graph)
    # qemu-io -r would pass, beside a QEMU writer too: it does not mind who writes. A copy does.
    writer, reader = run_qemu_io(image), run(image, "qemu-img", "convert", "-O", "raw", image.name, "copy.img")
    assert (writer.returncode, reader.returncode) == (1, 1)
    assert 'Failed to get "write" lock' in writer.stderr
    assert 'Failed to get shared "write" lock' in reader.stderr
    await backend.remove()


@needs_qemu_io
async def test_we_as_reader_share_with_a_qemu_reader_only(graph: BlockGraph, image: Path) -> None:
    backend = await use(graph, READ, NO_WRITERS)
    assert (run_qemu_io(image, "-r").returncode, run_qemu_io(image).returncode) == (0, 1)
    await backend.remove()


@needs_qemu_io
async def test_node_that_nobody_uses_lets_qemu_write(graph: BlockGraph, image: Path) -> None:
    await graph.add_table({"driver": "file", "filename": "disk.img"}, "blockdev[0]")
    assert run_qemu_io(image).returncode == 0


@pytest.fixture
def qemu_nbd(tmp_path: Path) -> Iterator[None]:
    """A qemu-nbd that serves ``disk.img``, a new qcow2 image, which is to be its own."""
    run(tmp_path / "disk.img", "qemu-img", "create", "-f", "qcow2", "disk.img", "1M")
    # With --fork it returns when it listens.
    run(
        tmp_path / "disk.img",
        "qemu-nbd",
        "-f",
        "qcow2",
        "-k",
        str(tmp_path / "s"),
        "--fork",
        "--pid-file=pid",
        "disk.img",
    )
    process = os.pidfd_open(int((tmp_path / "pid").read_text()))
    yield
    signal.pidfd_send_signal(process, signal.SIGTERM)
    select.select([process], [], [], 30)
    os.close(process)


@needs_qemu_io
async def test_qemu_nbd_keeps_our_writer_out(graph: BlockGraph, qemu_nbd: None) -> None:
    assert GET_WRITE in await refused(graph, WRITE, PERM_ALL)
