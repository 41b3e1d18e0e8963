# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``file`` driver: opening, the path without Futures, engines, faults."""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.file import FileDriver
from asyncemu.block.file.engine import WorkerEngine
from asyncemu.block.flags import MAY_UNMAP
from asyncemu.block.io_uring import IoUring
from asyncemu.coroutines import start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers
from tests.block.conftest import IMAGE_SIZE, allocated, contents, needs_io_uring
from tests.block.drivers import use

ENGINES = [
    pytest.param("threads", id="threads"),
    pytest.param("io_uring", id="io_uring", marks=needs_io_uring),
]


async def opened(graph: BlockGraph, **options: Any) -> BlockNode:
    return await graph.add_table(
        {"driver": "file", "node-name": "disk", "filename": "disk.img", **options}, "blockdev[0]"
    )


def driver_of(node: BlockNode) -> FileDriver:
    assert isinstance(node.driver, FileDriver)
    return node.driver


async def refused(graph: BlockGraph, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        await opened(graph, **options)
    return str(caught.value)


def failing(number: int) -> Any:
    def call(*args: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return call


# ---- opening


async def test_open_missing_file_says_how_to_create_it(graph: BlockGraph, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    assert await refused(graph) == (
        f"blockdev[0].filename: Could not open '{path}': No such file or directory; "
        f"create it, for example with: truncate -s 1G {path}"
    )


async def test_open_directory_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.mkdir()
    assert await refused(graph) == f"blockdev[0].filename: Could not open '{path}': Is a directory"
    assert await refused(graph, **{"read-only": True}) == (
        f"blockdev[0].filename: 'file' driver requires '{path}' to be a regular file"
    )


async def test_open_fifo_is_refused_without_waiting(graph: BlockGraph, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "disk.img")
    assert "to be a regular file" in await refused(graph)


async def test_open_device_is_refused(graph: BlockGraph) -> None:
    assert await refused(graph, filename="/dev/null") == (
        "blockdev[0].filename: 'file' driver requires '/dev/null' to be a regular file; use driver = \"host_device\""
    )


async def test_open_file_as_directory_is_refused(graph: BlockGraph, image: Path) -> None:
    assert await refused(graph, filename="disk.img/x") == (
        f"blockdev[0].filename: Could not open '{image}/x': Not a directory"
    )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ETXTBSY])
async def test_open_not_writable_offers_read_only(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "open", failing(number))
    message = await refused(graph)
    assert message.startswith(f"blockdev[0].filename: Could not open '{image}': {os.strerror(number)}; ")
    assert "read-only = true" in message


async def test_open_refused_gives_everything_back(graph: BlockGraph, image: Path) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    await opened(graph)
    await refused(graph, **{"node-name": "second", "aio": "native"})
    await refused(graph, **{"node-name": "second", "filename": "/dev/null"})
    await graph.close()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


async def test_open_native_without_direct_is_refused_as_in_qemu(graph: BlockGraph, image: Path) -> None:
    assert await refused(graph, aio="native") == (
        "blockdev[0].aio: aio=native was specified, but it requires cache.direct=on, which was not specified."
    )


@pytest.mark.parametrize("size", [0, 1, 511, 513])
async def test_open_any_size_keeps_the_bytes(graph: BlockGraph, image: Path, size: int) -> None:
    os.truncate(image, size)
    assert (await opened(graph)).size == size


async def test_open_read_only_does_not_write(graph: BlockGraph, image: Path) -> None:
    node = await opened(graph, **{"read-only": True})
    with pytest.raises(BlockError, match="Read-only file system"):
        await node.pwritev(0, Buffers.of(b"x"))


async def test_open_io_uring_refused_by_the_kernel_says_so(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IoUring, "__init__", failing(errno.EPERM))
    assert await refused(graph, aio="io_uring") == (
        'blockdev[0].aio: the kernel offers no io_uring (Operation not permitted); use "auto" or "threads"'
    )


async def test_open_auto_without_io_uring_uses_threads(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IoUring, "__init__", failing(errno.ENOSYS))
    assert isinstance(driver_of(await opened(graph)).engine, WorkerEngine)


# ---- the path in place


def in_place(cached: int) -> Any:
    """preadv2 of a page cache that holds the first ``cached`` bytes of what is asked for."""
    preadv = os.preadv

    def call(fd: int, buffers: Buffers, offset: int, flags: int = 0) -> int:
        if flags & os.RWF_NOWAIT and not cached:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return preadv(fd, Buffers(buffers).split(cached)[0] if flags & os.RWF_NOWAIT else buffers, offset)

    return call


async def test_cached_read_makes_no_future_callback_or_thread(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await opened(graph)
    monkeypatch.setattr(os, "preadv", in_place(4096))  # some file systems (tmpfs) know no RWF_NOWAIT
    data = contents(image)
    calls: list[str] = []

    class CountingLoop:
        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(loop, name)

    loop = node.context.loop
    threads = threading.active_count()
    node.context.loop = CountingLoop()  # type: ignore[assignment]
    got = bytearray(4096)
    begun = start(node.context, node.preadv(8192, Buffers.of(got)))
    node.context.loop = loop
    assert begun.done()
    assert got == data[8192:12288]
    assert calls == []
    assert threading.active_count() == threads


@pytest.mark.parametrize("cached", [0, 1, 4096, 5000])
@pytest.mark.parametrize("aio", ENGINES)
async def test_read_partly_cached_gets_the_rest_from_the_engine(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch, aio: str, cached: int
) -> None:
    node = await opened(graph, aio=aio)
    monkeypatch.setattr(os, "preadv", in_place(cached))
    got = bytearray(8192)
    reading = start(node.context, node.preadv(100, Buffers.of(memoryview(got)[:4096], memoryview(got)[4096:])))
    assert not reading.done()
    await reading
    assert got == contents(image)[100:8292]


# ---- engines


@pytest.mark.parametrize("aio", ENGINES)
async def test_engine_requests_reach_the_file(graph: BlockGraph, image: Path, aio: str) -> None:
    node = await opened(graph, aio=aio)
    driver_of(node)._read_inline = driver_of(node)._write_inline = False
    model = bytearray(contents(image))
    model[1000:3000] = b"w" * 2000
    model[10_000:20_000] = bytes(10_000)
    await node.pwritev(1000, Buffers.of(b"w" * 500, b"w" * 1500))
    await node.write_zeroes(10_000, 10_000)
    await node.flush()
    got = bytearray(len(model))
    await node.preadv(0, Buffers.of(memoryview(got)[:33], memoryview(got)[33:]))
    assert got == model
    assert contents(image) == model


@pytest.mark.parametrize("aio", ENGINES)
async def test_read_past_the_end_of_a_file_that_shrank_gives_zeroes(graph: BlockGraph, image: Path, aio: str) -> None:
    node = await opened(graph, aio=aio)
    kept = contents(image)[:5000]
    os.truncate(image, 5000)
    got = bytearray(b"?" * 8192)
    await node.preadv(0, Buffers.of(memoryview(got)[:4096], memoryview(got)[4096:]))
    assert got == kept + bytes(3192)


@pytest.mark.parametrize("aio", ENGINES)
async def test_more_views_than_a_system_call_takes_are_split(graph: BlockGraph, image: Path, aio: str) -> None:
    node = await opened(graph, aio=aio)
    data = bytes(range(256)) * 10
    await node.pwritev(3, Buffers.of(*(data[index : index + 1] for index in range(len(data)))))
    got = bytearray(len(data))
    await node.preadv(3, Buffers(memoryview(got)[index : index + 1] for index in range(len(data))))
    assert got == data


@pytest.mark.parametrize("aio", ENGINES)
async def test_short_transfers_are_continued(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch, aio: str
) -> None:
    node = await opened(graph, aio=aio)
    driver = driver_of(node)
    driver._read_inline = False
    monkeypatch.setattr(Buffers, "head", lambda self, max_bytes, max_views: self.split(min(999, self.nbytes))[0])
    await node.pwritev(0, Buffers.of(b"a" * 3000, b"b" * 3000))
    got = bytearray(7000)
    await node.preadv(0, Buffers.of(got))
    assert got[:6000] == b"a" * 3000 + b"b" * 3000
    assert got == contents(image)[:7000]


@pytest.mark.parametrize("aio", ENGINES)
async def test_many_requests_at_once_all_arrive(graph: BlockGraph, image: Path, aio: str) -> None:
    node = await opened(graph, aio=aio)
    writes = [start(node.context, node.pwritev(64 * n, Buffers.of(bytes([n & 255]) * 64))) for n in range(1024)]
    for write in writes:
        await write
    assert contents(image) == b"".join(bytes([n & 255]) * 64 for n in range(1024))


@pytest.mark.parametrize("aio", ENGINES)
async def test_discard_gives_storage_back(graph: BlockGraph, image: Path, aio: str) -> None:
    node = await opened(graph, aio=aio, discard="unmap")
    await node.pwrite_sync(0, b"x")
    size, blocks = allocated(image)
    await node.discard(0, IMAGE_SIZE)
    assert allocated(image)[0] == size
    assert allocated(image)[1] < blocks


@pytest.mark.parametrize("aio", ENGINES)
async def test_cancelled_write_ends_before_its_cancellation_arrives(graph: BlockGraph, image: Path, aio: str) -> None:
    node = await opened(graph, aio=aio)
    driver_of(node)._write_inline = False
    write = start(node.context, node.pwritev(0, Buffers.of(b"c" * 4096)))
    await asyncio.sleep(0)  # handed to the kernel, or to a thread
    write.cancel()
    assert not write.done()
    with pytest.raises(asyncio.CancelledError):
        await write
    assert contents(image)[:4096] == b"c" * 4096
    assert node.in_flight == 0


async def test_write_in_place_is_done_without_a_turn_of_the_loop(graph: BlockGraph, image: Path) -> None:
    graph.writes_in_place = True
    node = await opened(graph)
    data = Buffers.of(b"i" * 5000)
    write = start(node.context, node.pwritev(100, data))
    assert write.done()
    assert contents(image)[100:5100] == b"i" * 5000


async def test_write_in_place_in_pieces_goes_on_behind_each(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph.writes_in_place = True
    node = await opened(graph)
    pwritev = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, offset: pwritev(fd, Buffers(buffers).head(1000, 1), offset))
    await node.pwritev(0, Buffers((memoryview(b"a" * 1500), memoryview(b"b" * 1500))))
    assert contents(image)[:3000] == b"a" * 1500 + b"b" * 1500


async def test_write_in_place_of_nothing_raises_enospc(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph.writes_in_place = True
    node = await opened(graph)
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, offset: 0)
    with pytest.raises(BlockError, match="No space left on device"):
        await node.pwrite_sync(0, b"x")


@pytest.mark.parametrize("options", [{"aio": "threads"}, {"cache": {"direct": True}}], ids=["engine", "direct"])
async def test_write_in_place_not_with_an_engine_of_the_users_choice_nor_without_the_page_cache(
    graph: BlockGraph, image: Path, options: dict[str, Any]
) -> None:
    graph.writes_in_place = True
    node = await opened(graph, **options)
    driver_of(node)._write_inline = False
    write = start(node.context, node.pwritev(0, Buffers((memoryview(mmap.mmap(-1, 4096)),))))
    assert not write.done()
    await write


async def test_cancelled_write_in_a_thread_is_waited_for(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await opened(graph, aio="threads")
    driver_of(node)._write_inline = False
    begun, go_on = threading.Event(), threading.Event()
    pwritev = os.pwritev

    def slow(*args: Any) -> int:
        begun.set()
        go_on.wait(10)
        return pwritev(*args)

    monkeypatch.setattr(os, "pwritev", slow)
    write = start(node.context, node.pwritev(0, Buffers.of(b"c" * 512)))
    assert begun.wait(10)
    write.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not write.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await write
    assert contents(image)[:512] == b"c" * 512


# ---- direct I/O


async def direct(graph: BlockGraph, image: Path) -> BlockNode:
    try:
        return await opened(graph, cache={"direct": True})
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("size", [IMAGE_SIZE, IMAGE_SIZE - 100, 700])
async def test_direct_unaligned_requests_reach_the_file(graph: BlockGraph, image: Path, size: int) -> None:
    os.truncate(image, size)
    node = await direct(graph, image)
    model = bytearray(contents(image))
    model[5:600] = b"d" * 595
    model[size - 10 :] = b"e" * 10
    await node.pwritev(5, Buffers.of(bytearray(b"d" * 595)))
    await node.pwritev(size - 10, Buffers.of(b"e" * 10))
    await node.flush()
    got = bytearray(size)
    await node.preadv(0, Buffers.of(got))
    assert got == model
    assert contents(image) == model


async def test_direct_read_does_not_go_on_from_within_a_block(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await direct(graph, image)
    offsets: list[int] = []

    async def readv(fd: int, offset: int, buffers: Buffers) -> int:
        offsets.append(offset)
        return buffers.write(b"r" * 100)  # the file ends there

    monkeypatch.setattr(driver_of(node).engine, "readv", readv)
    got = bytearray(b"?" * 8192)
    await node.preadv(0, Buffers.of(got))
    assert offsets == [0]
    assert got == b"r" * 100 + bytes(8092)


async def test_direct_where_the_file_system_can_not_is_refused(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", failing(errno.EINVAL))
    assert await refused(graph, cache={"direct": True}) == (
        f"blockdev[0].cache.direct: Could not open '{image}': filesystem does not support O_DIRECT; leave the key out"
    )


# ---- flush


async def test_flush_no_flush_does_nothing(graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = await opened(graph, aio="threads", cache={"no-flush": True})
    monkeypatch.setattr(os, "fdatasync", failing(errno.EIO))
    assert start(node.context, node.flush()).done()


async def test_flush_failed_once_fails_ever_after(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await opened(graph, aio="threads")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", failing(errno.EIO))
        await node.pwritev(0, Buffers.of(b"x"))
        with pytest.raises(BlockError, match=r"^disk: flush: Input/output error$"):
            await node.flush()
    with pytest.raises(BlockError, match=r"^disk: flush: Input/output error$"):
        await node.flush()
    driver_of(node)._flush_error = 0


async def test_flush_after_writes_syncs_after_them(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await opened(graph, aio="threads")
    seen: list[bytes] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: seen.append(os.pread(fd, 1, 0)))
    await node.pwritev(0, Buffers.of(b"1"))
    await node.flush()
    await node.pwritev(0, Buffers.of(b"2"))
    await node.flush()
    assert seen == [b"1", b"2"]


# ---- faults


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_write_fault_raises_block_error_with_node_name(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    node = await opened(graph, aio="threads")
    monkeypatch.setattr(os, "pwritev", failing(number))
    with pytest.raises(BlockError) as caught:
        await node.pwritev(512, Buffers.of(b"x" * 512))
    assert str(caught.value) == f"disk: write of 512 bytes at 512: {os.strerror(number)}"


@needs_io_uring
async def test_io_uring_write_to_full_device_raises_enospc(graph: BlockGraph, image: Path) -> None:
    node = await opened(graph, aio="io_uring")
    driver = driver_of(node)
    driver._write_inline = False
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, driver._fd)
    os.close(full)
    with pytest.raises(BlockError, match=r"^disk: write of 512 bytes at 0: No space left on device$"):
        await node.pwritev(0, Buffers.of(b"x" * 512))
    node.read_only = True  # nothing to flush on that device


async def test_write_that_transfers_nothing_raises_enospc(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await opened(graph, aio="threads")
    monkeypatch.setattr(os, "pwritev", lambda *args: 0)
    with pytest.raises(BlockError, match="No space left on device"):
        await node.pwritev(0, Buffers.of(b"x"))


@pytest.mark.parametrize("flags", [0, MAY_UNMAP])
async def test_write_zeroes_without_fallocate_writes_zeroes(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch, flags: int
) -> None:
    node = await opened(graph, aio="threads", discard="unmap")
    asked: list[int] = []

    async def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
        asked.append(mode)
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(driver_of(node).engine, "fallocate", fallocate)
    await node.write_zeroes(0, 1000, flags)
    await node.write_zeroes(1000, 1000, flags)
    await node.discard(0, 100)
    assert contents(image)[:2000] == bytes(2000)
    # Each mode is asked for once: PUNCH_HOLE | KEEP_SIZE = 3, ZERO_RANGE = 16.
    assert sorted(asked) == [3, 16]


@pytest.mark.parametrize("flags", [0, MAY_UNMAP])
@pytest.mark.parametrize("offset", [IMAGE_SIZE - 1000, IMAGE_SIZE, IMAGE_SIZE + 5000])
async def test_write_zeroes_past_the_end_makes_the_file_longer(
    graph: BlockGraph, image: Path, offset: int, flags: int
) -> None:
    before = contents(image)
    node = await opened(graph, discard="unmap")
    await use(node)
    await node.write_zeroes(offset, 3000, flags)
    assert node.size == offset + 3000
    assert contents(image) == before[:offset].ljust(offset + 3000, b"\0")


async def test_write_zeroes_where_only_holes_are_known_makes_one_and_fills_it(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await opened(graph, aio="threads")
    fallocate = driver_of(node).engine.fallocate
    asked: list[int] = []

    async def as_tmpfs(fd: int, mode: int, offset: int, length: int) -> None:
        asked.append(mode)
        if mode == 0x10:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        await fallocate(fd, mode, offset, length)

    monkeypatch.setattr(driver_of(node).engine, "fallocate", as_tmpfs)
    blocks = allocated(image)
    await node.write_zeroes(4096, 8192)
    assert asked == [0x10, 3, 0]
    assert contents(image)[4096:12288] == bytes(8192)
    assert allocated(image) == blocks


async def test_buffered_nowait_unsupported_is_tried_once(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await opened(graph, aio="threads")
    flags: list[int] = []
    preadv = os.preadv

    def without_nowait(fd: int, buffers: Buffers, offset: int, flag: int = 0) -> int:
        flags.append(flag)
        return preadv(fd, buffers, offset) if not flag else failing(errno.EOPNOTSUPP)()

    monkeypatch.setattr(os, "preadv", without_nowait)
    got = [bytearray(16), bytearray(16)]
    await node.preadv(0, Buffers.of(got[0]))
    await node.preadv(16, Buffers.of(got[1]))
    assert flags == [os.RWF_NOWAIT, 0, 0]
    assert b"".join(got) == contents(image)[:32]


async def test_write_nowait_unsupported_is_tried_once(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await opened(graph, aio="threads")
    flags: list[int] = []
    pwritev = os.pwritev

    def without_nowait(fd: int, buffers: Buffers, offset: int, flag: int = 0) -> int:
        flags.append(flag)
        return pwritev(fd, buffers, offset) if not flag else failing(errno.EOPNOTSUPP)()

    monkeypatch.setattr(os, "pwritev", without_nowait)
    await node.pwritev(0, Buffers.of(b"1"))
    await node.pwritev(1, Buffers.of(b"2"))
    assert flags == [os.RWF_NOWAIT, 0, 0]
    assert contents(image)[:2] == b"12"


async def test_write_partly_taken_in_place_gets_the_rest_to_the_engine(
    graph: BlockGraph, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await opened(graph, aio="threads")
    pwritev = os.pwritev

    def partly(fd: int, buffers: Buffers, offset: int, flag: int = 0) -> int:
        return pwritev(fd, Buffers(buffers).split(700)[0] if flag else buffers, offset)

    monkeypatch.setattr(os, "pwritev", partly)
    await node.pwritev(10, Buffers.of(b"a" * 512, b"b" * 512))
    assert contents(image)[10:1034] == b"a" * 512 + b"b" * 512
