# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver with a server that does as it is told: order, cancellation, lost connections, a peer that lies."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from asyncemu.block import BlockGraph, BlockNode, move_nodes
from asyncemu.block.flags import STATUS_DATA, STATUS_ZERO
from asyncemu.block.nbd import client_session, driver
from asyncemu.block.nbd.client_session import ClientSession
from asyncemu.block.nbd.constants import (
    CMD_BLOCK_STATUS,
    CMD_DISC,
    CMD_WRITE,
    FLAG_HAS_FLAGS,
    FLAG_READ_ONLY,
    MAX_REQUESTS,
)
from asyncemu.block.nbd.driver import NbdDriver
from asyncemu.block.nbd.messages import (
    Request,
    block_status_chunk,
    data_chunk,
    error_chunk,
    none_chunk,
    simple_reply,
)
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import Clock, IOThread
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.waiting import until
from tests.block.nbd.conftest import Serve
from tests.block.nbd.fake_server import FakeClient, FakeServer
from tests.block.nbd.handshake import DISK

SECOND = 1_000_000_000

#: Bytes of a write that no socket's buffer holds.
LARGE = 8 << 20

Open: TypeAlias = Callable[..., Awaitable[tuple[BlockNode, FakeClient]]]


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeServer]:
    """A server with one export, ``disk``."""
    fake = FakeServer(tmp_path / "fake.sock")
    yield fake
    fake.stop()


@pytest.fixture
def clock(fake_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The drivers' clock, which stands still."""
    monkeypatch.setattr(driver, "realtime_clock", lambda: fake_clock)
    return fake_clock


def table(path: Path, **options: Any) -> dict[str, object]:
    """A disk of the server there."""
    given = {"driver": "nbd", "server": {"type": "unix", "path": str(path)}, "export": "disk", "discard": "unmap"}
    return {**given, **options}


@pytest.fixture
async def open_disk(graph: BlockGraph, fake: FakeServer, clock: Clock, fake_time: FakeClock) -> AsyncIterator[Open]:
    """Open a disk of the fake server: the node, and the server's side of its connection."""

    async def open_disk(**options: Any) -> tuple[BlockNode, FakeClient]:
        client, node = await asyncio.gather(fake.accept(), graph.add_table(table(fake.path, **options), "blockdev"))
        nodes.append(node)
        return node, client

    nodes: list[BlockNode] = []
    yield open_disk
    # Nobody answers any more: what is to be flushed is not, once requests don't wait for the server any longer.
    fake.stop()
    for node in nodes:
        if node.name in graph.nodes:
            removing = asyncio.ensure_future(graph.remove(node))
            while not removing.done():
                fake_time.advance(SECOND)
                await asyncio.sleep(0)
            with contextlib.suppress(BlockError):
                await removing


def session_of(node: BlockNode) -> ClientSession:
    """What its driver has."""
    assert isinstance(node.driver, NbdDriver)
    return node.driver._session


def begin(request: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Send it."""
    return asyncio.ensure_future(request)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel it, and wait until it has ended."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def read(node: BlockNode, memory: bytearray, offset: int = 0) -> Coroutine[Any, Any, None]:
    """A read into all of ``memory``."""
    return node.preadv(offset, Buffers.of(memoryview(memory)))


# ---- requests


async def test_replies_in_another_order_end_their_requests(open_disk: Open) -> None:
    node, client = await open_disk()
    first, second = begin(node.pread(0, 512)), begin(node.pread(512, 512))
    one, two = await client.request(), await client.request()
    await client.send(data_chunk(two.cookie, 512, 512) + b"2" * 512)
    assert await second == b"2" * 512
    assert not first.done()
    await client.send(data_chunk(one.cookie, 0, 512) + b"1" * 512)
    assert await first == b"1" * 512


async def test_seventeenth_request_waits_for_room(open_disk: Open) -> None:
    node, client = await open_disk()
    tasks = [begin(node.pread(512 * number, 512)) for number in range(40)]
    waiting = [await client.request() for _ in range(MAX_REQUESTS)]
    seen = set()
    while waiting:
        request = waiting.pop()
        seen.add(request.offset)
        await client.send(data_chunk(request.cookie, request.offset, 512) + bytes(512))
        if len(seen) + len(waiting) < 40:
            waiting.append(await client.request())
            assert len(waiting) <= MAX_REQUESTS
    await asyncio.gather(*tasks)
    assert seen == {512 * number for number in range(40)}


async def test_error_of_the_server_has_its_errno(open_disk: Open) -> None:
    node, client = await open_disk()
    task = begin(node.pread(0, 512))
    await client.send(error_chunk((await client.request()).cookie, 28, "full"))
    with pytest.raises(BlockError, match=r"No space left on device$"):
        await task


@pytest.mark.parametrize(
    ("extents", "flags", "length"),
    [
        ([(4096, 3)], STATUS_ZERO, 4096),
        ([(4096, 0)], STATUS_DATA, 4096),
        ([(1 << 30, 0)], STATUS_DATA, 65536),
        ([(512, 2), (512, 0)], STATUS_DATA | STATUS_ZERO, 512),
    ],
)
async def test_block_status_says_what_the_extent_says(
    open_disk: Open, extents: list[tuple[int, int]], flags: int, length: int
) -> None:
    node, client = await open_disk()
    task = begin(node.block_status(0, 65536))
    request = await client.request()
    assert (request.type, request.length) == (CMD_BLOCK_STATUS, 65536)
    await client.send(block_status_chunk(request.cookie, 0, extents))
    status = await task
    assert (status.flags & (STATUS_DATA | STATUS_ZERO), status.length) == (flags, length)


async def test_close_says_goodbye(graph: BlockGraph, open_disk: Open) -> None:
    node, client = await open_disk()
    await graph.remove(node)
    assert (await client.request()).type == CMD_DISC
    assert await client.exactly(1) == b""


async def test_truncate_is_the_servers_matter(open_disk: Open) -> None:
    node, _ = await open_disk()
    await node.truncate(4096)
    assert node.size == DISK.size
    with pytest.raises(ConfigError, match=r"Cannot grow NBD nodes$"):
        await node.truncate(2 * DISK.size)
    with pytest.raises(ConfigError, match=r"Cannot resize NBD nodes$"):
        await node.truncate(4096, exact=True)


# ---- cancellation


async def test_read_cancelled_leaves_its_memory_alone(open_disk: Open) -> None:
    node, client = await open_disk()
    memory = bytearray(b"\xee" * 100_000)
    task = begin(read(node, memory))
    request = await client.request()
    await client.send(data_chunk(request.cookie, 0, 100_000) + b"a" * 30_000)
    await until(lambda: memory[29_999] == ord("a"))
    await cancelled(task)
    before = bytes(memory)
    await client.send(b"a" * 70_000)
    following = begin(node.pread(0, 512))
    await client.send(data_chunk((await client.request()).cookie, 0, 512) + b"b" * 512)
    assert await following == b"b" * 512
    assert memory == before


async def test_write_cancelled_half_way_sends_the_rest_as_it_was(open_disk: Open, fake: FakeServer) -> None:
    fake.export = DISK._replace(size=LARGE)
    node, client = await open_disk()
    data = bytearray(b"a" * LARGE)
    task = begin(node.pwritev(0, Buffers.of(memoryview(data))))
    request = await client.request()
    await cancelled(task)
    data[:] = b"b" * LARGE
    assert await client.exactly(LARGE) == b"a" * LARGE
    following = begin(node.pread(0, 512))
    await client.send(simple_reply(request.cookie))
    await client.send(data_chunk((await client.request()).cookie, 0, 512) + bytes(512))
    await following


async def test_write_cancelled_before_it_was_sent_is_not_sent(open_disk: Open, fake: FakeServer) -> None:
    fake.export = DISK._replace(size=LARGE)
    node, client = await open_disk()
    large = begin(node.pwritev(0, Buffers.of(bytes(LARGE - 4096))))
    second = begin(node.pwritev(LARGE - 512, Buffers.of(b"second")))
    third = begin(node.pwritev(LARGE - 1024, Buffers.of(b"third")))
    await asyncio.sleep(0)
    await cancelled(second)
    requests = [await client.request_and_data() for _ in range(2)]
    assert [data[:5] for _, data in requests] == [bytes(5), b"third"]
    for request, _ in requests:
        await client.send(simple_reply(request.cookie))
    await asyncio.gather(large, third)


async def test_cancelled_requests_hold_their_room_until_they_are_answered(open_disk: Open) -> None:
    node, client = await open_disk()
    tasks = [begin(node.pread(0, 512)) for _ in range(MAX_REQUESTS)]
    requests = [await client.request() for _ in range(MAX_REQUESTS)]
    for task in tasks:
        await cancelled(task)
    following = begin(node.pread(0, 512))
    await asyncio.sleep(0)
    await client.send(error_chunk(requests[0].cookie, 5))
    await client.send(data_chunk((await client.request()).cookie, 0, 512) + bytes(512))
    await following


async def test_waiting_for_room_cancelled_passes_it_on(open_disk: Open) -> None:
    node, client = await open_disk()
    tasks = [begin(node.pread(0, 512)) for _ in range(MAX_REQUESTS + 2)]
    requests = [await client.request() for _ in range(MAX_REQUESTS)]
    await cancelled(tasks[-2])
    for request in requests:
        await client.send(data_chunk(request.cookie, 0, 512) + bytes(512))
    await client.send(data_chunk((await client.request()).cookie, 0, 512) + bytes(512))
    await tasks[-1]


# ---- connections that are lost


async def test_lost_without_a_delay_fails_at_once_and_comes_back(
    open_disk: Open, fake: FakeServer, fake_time: FakeClock
) -> None:
    node, client = await open_disk()
    task = begin(node.pread(0, 512))
    await client.request()
    fake.stop()
    with pytest.raises(BlockError, match=r"Input/output error$"):
        await task
    with pytest.raises(BlockError, match=r"Input/output error$"):
        await node.pread(0, 512)
    fake.start()
    fake_time.advance(SECOND)
    client = await fake.accept()
    await until(lambda: session_of(node)._alive())
    task = begin(node.pread(0, 512))
    await client.send(data_chunk((await client.request()).cookie, 0, 512) + b"b" * 512)
    assert await task == b"b" * 512


async def test_lost_with_a_delay_sends_requests_again(open_disk: Open, fake: FakeServer, fake_time: FakeClock) -> None:
    node, client = await open_disk(**{"reconnect-delay": 10})
    reading, writing = begin(node.pread(0, 512)), begin(node.pwritev(512, Buffers.of(b"w" * 512)))
    await client.request()
    fake.stop()
    await until(lambda: not session_of(node)._alive())
    later = begin(node.pread(1024, 512))
    await asyncio.sleep(0)
    fake.start()
    fake_time.advance(SECOND)
    client = await fake.accept()
    for _ in range(3):
        request, data = await client.request_and_data()
        if request.type == CMD_WRITE:
            assert data == b"w" * 512
            await client.send(simple_reply(request.cookie))
        else:
            await client.send(data_chunk(request.cookie, request.offset, 512) + bytes([request.offset >> 8]) * 512)
    assert await reading == bytes(512)
    assert await later == b"\4" * 512
    await writing


async def test_lost_with_a_delay_that_is_over_fails(open_disk: Open, fake: FakeServer, fake_time: FakeClock) -> None:
    node, client = await open_disk(**{"reconnect-delay": 10})
    task = begin(node.pread(0, 512))
    await client.request()
    fake.stop()
    await until(lambda: not session_of(node)._alive())
    fake_time.advance(9 * SECOND)
    await asyncio.sleep(0)
    assert not task.done()
    fake_time.advance(SECOND)
    with pytest.raises(BlockError, match=r"Input/output error$"):
        await task


async def test_lost_connection_is_tried_after_1_2_4_8_16_16_seconds(
    open_disk: Open, fake: FakeServer, fake_time: FakeClock, fake_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, _ = await open_disk()
    attempts: list[int] = []

    async def refuse(*arguments: object) -> None:
        attempts.append(fake_clock.now() // SECOND)
        raise ConfigError("server", "not there")

    monkeypatch.setattr(client_session, "connect_to_export", refuse)
    fake.stop()
    await until(lambda: not session_of(node)._alive())
    for _ in range(50):
        fake_time.advance(SECOND)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert attempts == [0, 1, 3, 7, 15, 31, 47]


@pytest.mark.parametrize(
    ("export", "problem"),
    [
        (DISK._replace(size=DISK.size // 2), "the export is 524288 bytes long now, not 1048576"),
        (DISK._replace(flags=DISK.flags | FLAG_READ_ONLY), "the export is read-only now"),
        (DISK._replace(flags=FLAG_HAS_FLAGS), "the export has less features now: flags 0x81, not 0xded"),
    ],
)
async def test_export_that_is_another_one_is_not_taken(
    open_disk: Open,
    fake: FakeServer,
    fake_time: FakeClock,
    caplog: pytest.LogCaptureFixture,
    export: Any,
    problem: str,
) -> None:
    caplog.set_level(logging.WARNING)
    node, _ = await open_disk()
    fake.stop()
    await until(lambda: not session_of(node)._alive())
    fake.export = export
    fake.start()
    fake_time.advance(SECOND)
    client = await fake.accept()
    assert await client.exactly(1) == b""
    assert caplog.messages[-1] == f"nbd: {fake.path}: {problem}"
    with pytest.raises(BlockError):
        await node.pread(0, 512)


async def test_open_timeout_tries_again(
    graph: BlockGraph, fake: FakeServer, fake_time: FakeClock, clock: Clock
) -> None:
    fake.stop()
    opening = begin(graph.add_table(table(fake.path, **{"open-timeout": 10}), "blockdev"))
    await asyncio.sleep(0)
    fake.start()
    fake_time.advance(SECOND)
    await fake.accept()
    assert (await opening).size == DISK.size


async def test_open_timeout_that_is_over_fails_with_the_last_reason(
    graph: BlockGraph, fake: FakeServer, fake_time: FakeClock, clock: Clock
) -> None:
    fake.stop()
    opening = begin(graph.add_table(table(fake.path, **{"open-timeout": 2}), "blockdev"))
    for _ in range(3):
        await asyncio.sleep(0)
        fake_time.advance(SECOND)
    with pytest.raises(ConfigError, match=rf"Failed to connect to '{fake.path}': No such file or directory$"):
        await opening


async def test_open_timeout_ends_a_handshake_that_hangs(
    graph: BlockGraph, fake: FakeServer, fake_time: FakeClock, clock: Clock
) -> None:
    opening = begin(graph.add_table(table(fake.path, **{"open-timeout": 2}), "blockdev"))
    # It is in the queue of clients that nobody takes.
    await asyncio.sleep(0)
    fake_time.advance(2 * SECOND)
    with pytest.raises(ConfigError, match=r"Connection attempt cancelled by other operation$"):
        await opening


# ---- a server that breaks the protocol


@pytest.mark.parametrize(
    "reply",
    [
        lambda request: b"z" * 100,
        lambda request: none_chunk(request.cookie),
        lambda request: none_chunk(request.cookie + 1),
        lambda request: data_chunk(request.cookie, 4096, 512) + bytes(512),
        lambda request: data_chunk(request.cookie, 0, 1 << 31),
    ],
)
async def test_server_that_breaks_the_protocol_is_not_asked_again(
    open_disk: Open, fake: FakeServer, fake_time: FakeClock, reply: Callable[[Request], bytes]
) -> None:
    node, client = await open_disk(**{"reconnect-delay": 10})
    task = begin(node.pread(0, 512))
    other = begin(node.pread(512, 512))
    await client.send(reply(await client.request()))
    for each in (task, other):
        with pytest.raises(BlockError) as raised:
            await each
        assert raised.value.errno == errno.EIO
    await client.exactly(1 << 20)
    fake_time.advance(60 * SECOND)
    with pytest.raises(BlockError):
        await node.pread(0, 512)
    assert session_of(node)._links[0].attempts is None


# ---- several connections


async def test_several_connections_share_the_requests(open_disk: Open, fake: FakeServer) -> None:
    fake.export = DISK._replace(flags=DISK.flags | 0x100)
    node, first = await open_disk(connections=2)
    second = await fake.accept()
    await until(lambda: all(link.connection for link in session_of(node)._links))
    tasks = [begin(node.pread(512 * number, 512)) for number in range(4)]
    for client in (first, second):
        for _ in range(2):
            request = await client.request()
            await client.send(data_chunk(request.cookie, request.offset, 512) + bytes(512))
    await asyncio.gather(*tasks)


async def test_several_connections_one_lost_sends_its_requests_on_the_other(open_disk: Open, fake: FakeServer) -> None:
    node, first = await open_disk(connections=2)
    second = await fake.accept()
    await until(lambda: all(link.connection for link in session_of(node)._links))
    tasks = [begin(node.pread(512 * number, 512)) for number in range(2)]
    await first.request()
    first.close()
    for _ in range(2):
        request = await second.request()
        await second.send(data_chunk(request.cookie, request.offset, 512) + bytes(512))
    await asyncio.gather(*tasks)


async def test_one_connection_where_the_server_does_not_like_several(open_disk: Open, fake: FakeServer) -> None:
    fake.export = DISK._replace(flags=DISK.flags & ~0x100)
    node, _ = await open_disk(connections=4)
    assert len(session_of(node)._links) == 1


# ---- homes


async def test_node_moves_with_its_connection(graph: BlockGraph, serve: Serve, iothreads: list[IOThread]) -> None:
    served = await serve()
    served.disk().data[:5] = b"hello"
    node = await graph.add_table(table(served.path), "blockdev")
    assert await node.pread(0, 5) == b"hello"
    home, other = node.context, iothreads[0].context
    await move_nodes(node, other)
    assert await other.call(lambda: node.pread(0, 5)) == b"hello"
    await move_nodes(node, home)
    assert await node.pread(0, 5) == b"hello"
    assert served.server.clients == 1


async def test_node_moves_while_the_server_is_away(
    open_disk: Open, fake: FakeServer, fake_time: FakeClock, iothreads: list[IOThread]
) -> None:
    node, _ = await open_disk()
    fake.stop()
    await until(lambda: not session_of(node)._alive())
    home, other = node.context, iothreads[0].context
    await move_nodes(node, other)
    await move_nodes(node, home)
    fake.start()
    fake_time.advance(SECOND)
    await fake.accept()
    await until(lambda: session_of(node)._alive())


# ---- with our own server


async def test_our_server_and_our_driver_agree_on_everything(graph: BlockGraph, serve: Serve) -> None:
    served = await serve()
    node = await graph.add_table(table(served.path), "blockdev")
    disk = served.disk()
    await node.pwritev(100, Buffers.of(b"abc", b"def"))
    assert disk.data[100:106] == b"abcdef"
    await node.write_zeroes(101, 2)
    await node.discard(4096, 4096)
    await node.flush()
    assert await node.pread(99, 8) == b"\0a\0\0def\0"
    kinds = [method for method, _, _ in disk.requests]
    assert kinds == ["pwritev", "write_zeroes", "discard", "flush", "preadv"]


async def test_close_waits_for_requests_in_flight(graph: BlockGraph, open_disk: Open) -> None:
    node, client = await open_disk()
    task = begin(node.pread(0, 512))
    await client.request()
    closing = begin(graph.remove(node))
    await asyncio.sleep(0)
    assert not closing.done()
    client.close()
    with contextlib.suppress(BlockError):
        await task
    await closing
