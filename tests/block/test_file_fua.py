# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes with FUA: one trip to the kernel, and what is known when it fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.flags import FUA
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers
from tests.block.conftest import contents, needs_io_uring

ENGINES = ["threads", pytest.param("io_uring", marks=needs_io_uring)]


async def opened(graph: BlockGraph, **options: Any) -> BlockNode:
    table = {"driver": "file", "node-name": "disk", "filename": "disk.img", "aio": "threads", **options}
    return await graph.add_table(table, "blockdev[0]")


class Calls:
    """What was asked of the host: ``pwritev`` flags, and ``"sync"``; refused with an errno, when there is one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[object] = []
        #: By the flags of pwritev, or ``"sync"``.
        self.refuse: dict[object, int] = {}
        self._pwritev, self._fdatasync = os.pwritev, os.fdatasync
        monkeypatch.setattr(os, "pwritev", self.pwritev)
        monkeypatch.setattr(os, "fdatasync", self.fdatasync)

    def pwritev(self, fd: int, buffers: Buffers, offset: int, flags: int = 0) -> int:
        self._note(flags)
        return self._pwritev(fd, buffers, offset, flags)

    def fdatasync(self, fd: int) -> None:
        self._note("sync")
        self._fdatasync(fd)

    def _note(self, what: object) -> None:
        self.seen.append(what)
        if what in self.refuse:
            raise OSError(self.refuse[what], os.strerror(self.refuse[what]))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@pytest.mark.parametrize("aio", ENGINES)
async def test_write_with_fua_reaches_the_file(graph: BlockGraph, image: Path, aio: str) -> None:
    node = await opened(graph, aio=aio)
    await node.pwritev(100, Buffers.of(b"one", b"two"), FUA)
    await node.pwritev(0, Buffers.of(b"three"), FUA)
    assert contents(image)[:106] == b"three" + contents(image)[5:100] + b"onetwo"


async def test_write_with_fua_is_one_call_and_no_flush(graph: BlockGraph, image: Path, calls: Calls) -> None:
    node = await opened(graph)
    await node.pwritev(0, Buffers.of(b"x" * 4096), FUA)
    assert calls.seen == [os.RWF_DSYNC]


async def test_write_with_fua_without_flushes_is_a_plain_write(graph: BlockGraph, image: Path, calls: Calls) -> None:
    node = await opened(graph, cache={"no-flush": True})
    await node.pwritev(0, Buffers.of(b"x"), FUA)
    assert not {os.RWF_DSYNC, "sync"} & set(calls.seen)
    assert contents(image)[:1] == b"x"


async def test_kernel_without_dsync_writes_and_flushes(graph: BlockGraph, image: Path, calls: Calls) -> None:
    node = await opened(graph)
    calls.refuse[os.RWF_DSYNC] = errno.EOPNOTSUPP
    await node.pwritev(0, Buffers.of(b"1"), FUA)
    await node.pwritev(1, Buffers.of(b"2"), FUA)
    assert calls.seen == [os.RWF_DSYNC, 0, "sync", 0, "sync"]
    assert contents(image)[:2] == b"12"


async def test_write_that_has_failed_can_be_repeated(graph: BlockGraph, image: Path, calls: Calls) -> None:
    """No room: nothing is lost, and the guest's next try may succeed."""
    node = await opened(graph)
    calls.refuse = {os.RWF_DSYNC: errno.ENOSPC, 0: errno.ENOSPC}
    with pytest.raises(BlockError, match="No space left on device"):
        await node.pwritev(0, Buffers.of(b"x"), FUA)
    calls.refuse = {}
    await node.pwritev(0, Buffers.of(b"x"), FUA)
    await node.flush()
    assert contents(image)[:1] == b"x"


async def test_sync_that_has_failed_fails_ever_after(graph: BlockGraph, image: Path, calls: Calls) -> None:
    """The kernel forgets what it could not write, of this write and of others."""
    node = await opened(graph)
    calls.refuse[os.RWF_DSYNC] = errno.EIO
    with pytest.raises(BlockError, match="Input/output error"):
        await node.pwritev(0, Buffers.of(b"x"), FUA)
    calls.refuse = {}
    with pytest.raises(BlockError, match="Input/output error"):
        await node.pwritev(0, Buffers.of(b"x"), FUA)
    await node.pwritev(0, Buffers.of(b"x"))
    with pytest.raises(BlockError, match="Input/output error"):
        await node.flush()
    node.flushed_generation = node.write_generation  # so that it can be closed
