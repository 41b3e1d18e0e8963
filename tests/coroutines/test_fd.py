# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole transfers over a socket, however it cuts them."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Iterator

import pytest

from asyncemu.coroutines import co_recvv, co_sendv, start, yield_until_fd_readable, yield_until_fd_writable
from asyncemu.loop import AioContext
from tests.coroutines.conftest import rounds

pytestmark = pytest.mark.both_loops


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Connected and non-blocking, with little room in between."""
    sockets = socket.socketpair()
    for each in sockets:
        each.setblocking(False)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    yield sockets
    for each in sockets:
        each.close()


def views(*sizes: int) -> list[memoryview]:
    return [memoryview(bytearray(size)) for size in sizes]


async def test_readable_returns_when_something_is_there(
    context: AioContext, pair: tuple[socket.socket, socket.socket]
) -> None:
    coroutine = start(context, yield_until_fd_readable(pair[0].fileno()))

    before = coroutine.done()
    pair[1].send(b"x")
    await coroutine

    assert not before
    assert not context.loop.remove_reader(pair[0].fileno())


async def test_readable_cancelled_leaves_no_handler(
    context: AioContext, pair: tuple[socket.socket, socket.socket]
) -> None:
    coroutine = start(context, yield_until_fd_readable(pair[0].fileno()))

    coroutine.cancel()
    await rounds(2)

    assert isinstance(coroutine.error, asyncio.CancelledError)
    assert not context.loop.remove_reader(pair[0].fileno())


async def test_writable_returns_when_there_is_room(
    context: AioContext, pair: tuple[socket.socket, socket.socket]
) -> None:
    await yield_until_fd_writable(pair[0].fileno())

    assert not context.loop.remove_writer(pair[0].fileno())


async def test_send_and_receive_more_than_fits_at_once(
    context: AioContext, pair: tuple[socket.socket, socket.socket]
) -> None:
    data = random.Random(1).randbytes(1 << 18)
    target = bytearray(len(data))
    sent = [memoryview(data)[:1], memoryview(data)[1:1], memoryview(data)[1:100_000], memoryview(data)[100_000:]]
    got = [memoryview(target)[:70_001], memoryview(target)[70_001:]]

    sender = start(context, co_sendv(pair[0], sent))
    receiver = start(context, co_recvv(pair[1], got))

    assert (await sender, await receiver) == (len(data), len(data))
    assert target == data


async def test_both_directions_at_a_time_do_not_disturb_each_other(
    context: AioContext, pair: tuple[socket.socket, socket.socket]
) -> None:
    size = 1 << 16
    buffers = views(size, size)
    coroutines = [start(context, co_recvv(each, [buffer])) for each, buffer in zip(pair, buffers, strict=True)]
    coroutines += [start(context, co_sendv(each, [memoryview(os.urandom(size))])) for each in pair]

    assert [await coroutine for coroutine in coroutines] == [size] * 4


async def test_more_buffers_than_one_call_takes(context: AioContext, pair: tuple[socket.socket, socket.socket]) -> None:
    target = bytearray(3000)
    sender = start(context, co_sendv(pair[0], [memoryview(b"%c" % (number % 251)) for number in range(3000)]))

    got = await co_recvv(pair[1], [memoryview(target)[number : number + 1] for number in range(3000)])

    assert (await sender, got) == (3000, 3000)
    assert target == bytes(number % 251 for number in range(3000))


async def test_recvv_at_the_end_of_the_stream_is_short(
    context: AioContext, pair: tuple[socket.socket, socket.socket]
) -> None:
    (buffer,) = views(8)
    coroutine = start(context, co_recvv(pair[0], [buffer]))

    pair[1].send(b"abc")
    await rounds(3)
    pair[1].close()

    assert (await coroutine, bytes(buffer[:3])) == (3, b"abc")


async def test_sendv_to_nobody_is_an_error(context: AioContext, pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].close()

    with pytest.raises(BrokenPipeError):
        await co_sendv(pair[0], [memoryview(b"x")])


async def test_nothing_asks_nothing_of_the_socket(
    context: AioContext, pair: tuple[socket.socket, socket.socket]
) -> None:
    assert (await co_recvv(pair[0], views(0, 0)), await co_sendv(pair[0], [])) == (0, 0)


async def test_recvv_cancelled_leaves_no_handler(
    context: AioContext, pair: tuple[socket.socket, socket.socket]
) -> None:
    coroutine = start(context, co_recvv(pair[0], views(8)))

    coroutine.cancel()
    await rounds(2)

    assert not context.loop.remove_reader(pair[0].fileno())


async def test_transfer_in_a_task_works_as_well(context: AioContext, pair: tuple[socket.socket, socket.socket]) -> None:
    task = asyncio.ensure_future(co_recvv(pair[0], views(1)))
    await rounds(1)
    await co_sendv(pair[1], [memoryview(b"x")])

    assert await task == 1


async def test_blocking_socket_is_refused(context: AioContext, pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].setblocking(True)

    with pytest.raises(ValueError, match=r"<socket.socket .*> is blocking"):
        await co_recvv(pair[0], views(1))
