# SPDX-License-Identifier: GPL-2.0-or-later
"""A file that is open in another way than before: read-only, direct, by another engine; auto-read-only."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode
from asyncemu.block.file import FileDriver
from asyncemu.block.file.engine import WorkerEngine
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE
from asyncemu.block.reopen import reopen
from asyncemu.errors import BlockError, ConfigError
from tests.block.conftest import contents

READ = PERM_CONSISTENT_READ
WRITE = PERM_CONSISTENT_READ | PERM_WRITE


async def opened(graph: BlockGraph, **options: Any) -> BlockNode:
    table = {"driver": "file", "node-name": "disk", "filename": "disk.img", **options}
    return await graph.add_table(table, "blockdev[0]")


async def used(graph: BlockGraph, node: BlockNode, permissions: int = READ, shared: int = PERM_ALL) -> BlockBackend:
    backend = BlockBackend("user", graph.context, permissions, shared)
    await backend.insert(node)
    return backend


def driver_of(node: BlockNode) -> FileDriver:
    assert isinstance(node.driver, FileDriver)
    return node.driver


def mode(node: BlockNode) -> str:
    """How the file is open."""
    flags = fcntl.fcntl(driver_of(node)._fd, fcntl.F_GETFL)
    access = {os.O_RDONLY: "r", os.O_RDWR: "rw"}[flags & os.O_ACCMODE]
    return access + (" direct" if flags & os.O_DIRECT else "")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


# ---- reopen


async def test_reopen_read_only_and_back(graph: BlockGraph, image: Path) -> None:
    node = await opened(graph)
    await node.pwrite_sync(0, b"w")  # the first request makes the engine, which has descriptors, too
    number, count = driver_of(node)._fd, descriptors()
    await reopen(graph, {node: {"read-only": True}}, keep=True)
    first = mode(node)
    with pytest.raises(BlockError, match="Read-only file system"):
        await node.pwrite_sync(0, b"x")
    await reopen(graph, {node: {"read-only": False}}, keep=True)
    await node.pwrite_sync(0, b"x")
    assert (first, mode(node), contents(image)[:1]) == ("r", "rw", b"x")
    assert (driver_of(node)._fd, descriptors()) == (number, count)


async def test_reopen_read_only_under_a_writer_is_refused(graph: BlockGraph, image: Path) -> None:
    backend = await used(graph, await opened(graph), WRITE)
    await backend.pwrite(0, b"w")  # makes the engine
    count = descriptors()
    with pytest.raises(ConfigError, match=r"Read-only block node .* cannot support read-write users"):
        await reopen(graph, {backend.node: {"read-only": True}}, keep=True)
    await backend.pwrite(0, b"x")
    assert (mode(backend.node), descriptors()) == ("rw", count)
    await backend.remove()


async def test_reopen_keeps_the_locks(graph: BlockGraph, image: Path) -> None:
    backend = await used(graph, await opened(graph), READ, PERM_ALL & ~PERM_WRITE)
    await reopen(graph, {backend.node: {"read-only": True}}, keep=True)
    other = await graph.add_table({"driver": "file", "node-name": "other", "filename": "disk.img"}, "blockdev[1]")
    with pytest.raises(ConfigError, match='Failed to get "write" lock'):
        await used(graph, other, WRITE)
    await backend.remove()
    await (await used(graph, other, WRITE)).remove()


async def test_reopen_of_a_file_that_was_renamed_is_of_the_same_file(graph: BlockGraph, image: Path) -> None:
    data = contents(image)
    node = await opened(graph)
    image.rename(image.with_name("moved.img"))
    image.write_bytes(bytes(len(data)))
    await reopen(graph, {node: {"read-only": True}}, keep=True)
    assert await node.pread(0, len(data)) == data


async def test_reopen_direct_and_back(graph: BlockGraph, image: Path) -> None:
    node = await opened(graph)
    data = contents(image)
    try:
        await reopen(graph, {node: {"cache": {"direct": True}}}, keep=True)
    except ConfigError as error:
        pytest.skip(str(error))
    assert (mode(node), node.limits.request_alignment > 1) == ("rw direct", True)
    assert await node.pread(5, 1000) == data[5:1005]
    await node.pwrite_sync(7, b"direct")
    await reopen(graph, {node: {"cache": {"direct": False}}}, keep=True)
    assert (mode(node), node.limits.request_alignment) == ("rw", 1)
    assert await node.pread(0, 13) == data[:7] + b"direct"


async def test_reopen_with_another_engine(graph: BlockGraph, image: Path) -> None:
    node = await opened(graph, aio="auto")
    await reopen(graph, {node: {"aio": "threads"}}, keep=True)
    driver_of(node)._read_inline = False
    assert isinstance(driver_of(node).engine, WorkerEngine)
    assert await node.pread(0, 100) == contents(image)[:100]


@pytest.mark.parametrize(("key", "value"), [("filename", "other.img"), ("locking", "off")])
async def test_reopen_with_what_can_not_be_changed_is_refused(
    graph: BlockGraph, image: Path, key: str, value: str
) -> None:
    node = await opened(graph)
    with pytest.raises(ConfigError, match=f"Cannot change the option '{key}'"):
        await reopen(graph, {node: {key: value}}, keep=True)


async def test_reopen_that_the_host_refuses_leaves_all_as_it_was(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await opened(graph, **{"read-only": True})
    count = descriptors()

    def refuse(*arguments: Any) -> int:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as refusing:
        refusing.setattr(os, "open", refuse)
        with pytest.raises(ConfigError, match="Permission denied"):
            await reopen(graph, {node: {"read-only": False}}, keep=True)
    assert (mode(node), node.read_only, descriptors()) == ("r", True, count)
    assert await node.pread(0, 100) == contents(image)[:100]


async def test_reopen_of_the_second_node_fails_and_the_first_is_as_it_was(graph: BlockGraph, image: Path) -> None:
    first = await opened(graph, locking="off")
    second = await graph.add_table(
        {"driver": "file", "node-name": "second", "filename": "disk.img", "locking": "off"}, "blockdev[1]"
    )
    writer = await used(graph, second, WRITE)
    count = descriptors()
    with pytest.raises(ConfigError, match=r"Read-only block node .* cannot support read-write users"):
        await reopen(graph, {first: {"read-only": True}, second: {"read-only": True}}, keep=True)
    assert (mode(first), mode(second), descriptors()) == ("rw", "rw", count)
    await first.pwrite_sync(0, b"x")
    await writer.remove()


# ---- auto-read-only


async def test_auto_read_only_is_writable_while_somebody_may_write(graph: BlockGraph, image: Path) -> None:
    backend = await used(graph, await opened(graph, **{"auto-read-only": True}))
    seen = [mode(backend.node)]
    for permissions in (WRITE, READ, READ | PERM_RESIZE):
        backend.set_permissions(permissions, PERM_ALL)
        seen.append(mode(backend.node))
    await backend.remove()
    assert seen == ["r", "rw", "r", "rw"]


async def test_auto_read_only_writes_arrive_and_are_flushed(graph: BlockGraph, image: Path) -> None:
    backend = await used(graph, await opened(graph, **{"auto-read-only": True}), WRITE)
    await backend.pwrite(0, b"written")
    backend.set_permissions(READ, PERM_ALL)
    await backend.flush()
    assert await backend.pread(0, 7) == b"written" == contents(image)[:7]
    await backend.remove()


async def test_auto_read_only_keeps_locks_over_the_change(graph: BlockGraph, image: Path) -> None:
    backend = await used(graph, await opened(graph, **{"auto-read-only": True}), READ, PERM_ALL & ~PERM_WRITE)
    backend.set_permissions(WRITE, PERM_ALL & ~PERM_WRITE)
    other = await graph.add_table({"driver": "file", "node-name": "other", "filename": "disk.img"}, "blockdev[1]")
    with pytest.raises(ConfigError, match='Failed to get shared "write" lock'):
        await used(graph, other, READ, PERM_ALL & ~PERM_WRITE)
    backend.set_permissions(READ, PERM_ALL)
    await (await used(graph, other, READ, PERM_ALL & ~PERM_WRITE)).remove()
    await backend.remove()


async def test_auto_read_only_that_the_host_forbids_to_write_is_read_only(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncemu.block.file.posix.may_write", lambda filename: False)
    node = await opened(graph, **{"auto-read-only": True})
    assert (node.read_only, mode(node)) == (True, "r")
    with pytest.raises(ConfigError, match="Block node is read-only"):
        await used(graph, node, WRITE)


async def test_auto_read_only_refused_at_the_change_keeps_reading(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await used(graph, await opened(graph, **{"auto-read-only": True}))

    def refuse(*arguments: Any) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as refusing:
        refusing.setattr(os, "open", refuse)
        with pytest.raises(ConfigError, match="Read-only file system"):
            backend.set_permissions(WRITE, PERM_ALL)
    assert await backend.pread(0, 100) == contents(image)[:100]
    await backend.remove()


async def test_auto_read_only_conflict_closes_what_it_has_opened(graph: BlockGraph, image: Path) -> None:
    backend = await used(graph, await opened(graph, **{"auto-read-only": True}))
    other = await graph.add_table({"driver": "file", "node-name": "other", "filename": "disk.img"}, "blockdev[1]")
    guard = await used(graph, other, READ, PERM_ALL & ~PERM_WRITE)
    count = descriptors()
    with pytest.raises(ConfigError, match='Failed to get "write" lock'):
        backend.set_permissions(WRITE, PERM_ALL)
    assert (mode(backend.node), descriptors()) == ("r", count)
    for each in (guard, backend):
        await each.remove()
