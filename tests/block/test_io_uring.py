# SPDX-License-Identifier: GPL-2.0-or-later
"""The io_uring instance and its queue, against the running kernel; where it must misbehave, against a stand-in."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block.io_uring import OP_READ, IoUring
from asyncemu.block.io_uring_queue import IoUringQueue
from asyncemu.block.iovec import pin
from asyncemu.coroutines import start
from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers
from tests.block.conftest import IMAGE_SIZE, contents, needs_io_uring

pytestmark = needs_io_uring


@pytest.fixture
async def queue(context: AioContext) -> AsyncIterator[IoUringQueue]:
    """A queue of four entries, so that a few requests fill it."""
    queue = IoUringQueue(context, 4)
    yield queue
    queue.release()


# ---- the instance


def test_ring_indices_wrap_around_keeps_working() -> None:
    ring = IoUring(2)
    buffer = bytearray(8)
    address, _pinned = pin(memoryview(buffer))
    # A pipe with bytes in it: the kernel answers within the call.
    source, sink = os.pipe()
    for number in range(10):
        os.write(sink, bytes([number]) * 8)
        ring.prepare(OP_READ, source, 0, address, 8, 0, 1000 + number)
        assert ring.submit() == 1
        assert ring.completions() == [(1000 + number, 8)]
        assert buffer == bytes([number]) * 8
    os.close(source)
    os.close(sink)
    ring.close()


def test_withdraw_gives_back_what_was_not_submitted() -> None:
    ring = IoUring(4)
    for number in (7, 8, 9):
        ring.prepare(OP_READ, -1, 0, 0, 0, 0, number)
    assert ring.withdraw() == [7, 8, 9]
    assert (ring.prepared, ring.submit(), ring.completions()) == (0, 0, [])
    ring.close()


def test_supports_unknown_opcode_says_no() -> None:
    ring = IoUring(1)
    assert (ring.supports([OP_READ]), ring.supports([OP_READ, 255])) == (True, False)
    ring.close()


def test_close_gives_the_descriptor_back() -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    IoUring(4).close()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_setup_impossible_size_raises_oserror() -> None:
    with pytest.raises(OSError) as caught:
        IoUring(1 << 30)
    assert caught.value.errno == errno.EINVAL


# ---- the queue


async def test_acquire_twice_shares_one_ring(context: AioContext) -> None:
    first, second = IoUringQueue.acquire(context), IoUringQueue.acquire(context)
    assert first is second
    first.release()
    second.release()
    third = IoUringQueue.acquire(context)
    assert third is not first
    third.release()


async def test_more_requests_than_entries_wait_in_line(queue: IoUringQueue, image: Path) -> None:
    data = contents(image)
    got = [bytearray(64) for _ in range(100)]
    most = 0
    with image.open("rb") as file:
        reads = [
            start(queue.context, queue.readv(file.fileno(), 64 * number, Buffers.of(buffer)))
            for number, buffer in enumerate(got)
        ]
        for read in reads:
            most = max(most, queue.in_flight)
            assert await read == 64
    assert b"".join(got) == data[:6400]
    assert most <= 4


async def test_requests_of_one_round_go_in_one_system_call(
    queue: IoUringQueue, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    submit = queue._ring.submit

    def counting() -> int:
        taken.append(submit())
        return taken[-1]

    monkeypatch.setattr(queue._ring, "submit", counting)
    with image.open("rb") as file:
        reads = [start(queue.context, queue.readv(file.fileno(), 0, Buffers.of(bytearray(8)))) for _ in range(4)]
        for read in reads:
            await read
    assert taken == [4]


async def test_vectored_write_and_read_of_read_only_and_writable_views(queue: IoUringQueue, image: Path) -> None:
    fd = os.open(image, os.O_RDWR)
    assert await queue.writev(fd, 10, Buffers.of(b"read-only", bytearray(b"writable"))) == 17
    got = [bytearray(9), bytearray(8)]
    assert await queue.readv(fd, 10, Buffers.of(*got)) == 17
    os.close(fd)
    assert got == [b"read-only", b"writable"]


async def test_read_at_the_end_of_the_file_gives_zero(queue: IoUringQueue, image: Path) -> None:
    with image.open("rb") as file:
        assert await queue.readv(file.fileno(), IMAGE_SIZE, Buffers.of(bytearray(8))) == 0


@pytest.mark.parametrize("call", ["readv", "writev", "fdatasync", "fallocate"])
async def test_request_on_bad_descriptor_raises_oserror(queue: IoUringQueue, call: str) -> None:
    arguments: dict[str, tuple[Any, ...]] = {"fdatasync": (), "fallocate": (0, 0, 1)}
    with pytest.raises(OSError) as caught:
        await getattr(queue, call)(-1, *arguments.get(call, (0, Buffers.of(bytearray(1)))))
    assert caught.value.errno == errno.EBADF


async def test_cancelled_in_line_never_reaches_the_kernel(queue: IoUringQueue, image: Path) -> None:
    buffer = bytearray(8)
    with image.open("rb") as file:
        read = start(queue.context, queue.readv(file.fileno(), 0, Buffers.of(buffer)))
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        assert await queue.readv(file.fileno(), 0, Buffers.of(bytearray(1))) == 1
    assert buffer == bytes(8)


async def test_cancelled_on_the_ring_keeps_its_buffer_until_the_end(queue: IoUringQueue) -> None:
    # A pipe holds a request in the kernel for as long as a test likes.
    source, sink = os.pipe()
    buffer = bytearray(4)
    read = start(queue.context, queue.readv(source, 0, Buffers.of(buffer)))
    await asyncio.sleep(0)
    assert queue.in_flight == 1
    read.cancel()
    await asyncio.sleep(0)
    assert not read.done()
    with pytest.raises(BufferError):
        buffer.extend(b"moves")  # pinned
    os.write(sink, b"late")
    with pytest.raises(asyncio.CancelledError):
        await read
    assert (bytes(buffer), queue.in_flight) == (b"late", 0)
    os.close(source)
    os.close(sink)


async def test_cancelled_task_on_the_ring_is_cancelled_at_the_end(queue: IoUringQueue) -> None:
    source, sink = os.pipe()
    task = asyncio.create_task(queue.readv(source, 0, Buffers.of(bytearray(4))))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert queue.in_flight == 1
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    os.write(sink, b"late")
    with pytest.raises(asyncio.CancelledError):
        await task
    os.close(source)
    os.close(sink)


# ---- a kernel that is short of memory, or refuses


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EBUSY, errno.EINTR])
async def test_submit_refused_for_now_is_tried_again(
    queue: IoUringQueue, image: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    submit = queue._ring.submit
    refusals = [number] * 3

    def sometimes() -> int:
        if refusals:
            raise OSError(refusals.pop(), "not now")
        return submit()

    monkeypatch.setattr(queue._ring, "submit", sometimes)
    with image.open("rb") as file:
        assert await queue.readv(file.fileno(), 0, Buffers.of(bytearray(8))) == 8
    assert refusals == []


async def test_submit_refused_for_good_fails_the_requests(
    queue: IoUringQueue, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> int:
        raise OSError(errno.EPERM, "no")

    with monkeypatch.context() as broken, image.open("rb") as file:
        broken.setattr(queue._ring, "submit", never)
        reads = [start(queue.context, queue.readv(file.fileno(), 0, Buffers.of(bytearray(8)))) for _ in range(6)]
        with pytest.raises(OSError, match="not permitted"):
            await reads[0]
        for read in reads[1:]:
            with pytest.raises(OSError, match="not permitted"):
                await read
    with image.open("rb") as file:
        assert await queue.readv(file.fileno(), 0, Buffers.of(bytearray(8))) == 8


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EINTR])
async def test_completion_interrupted_is_done_again(
    queue: IoUringQueue, image: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    completions = queue._ring.completions
    results = [-number, -number]

    def interrupted() -> list[tuple[int, int]]:
        return [(slot, results.pop() if results else result) for slot, result in completions()]

    monkeypatch.setattr(queue._ring, "completions", interrupted)
    with image.open("rb") as file:
        assert await queue.readv(file.fileno(), 0, Buffers.of(bytearray(8))) == 8
    assert (results, queue.in_flight) == ([], 0)
