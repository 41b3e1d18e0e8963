# SPDX-License-Identifier: GPL-2.0-or-later
"""The server with clients that do as they are told: requests, limits, bad manners, the end."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct

import pytest

from asyncemu.block import drained
from asyncemu.block.nbd import server_connection
from asyncemu.block.nbd.export import NbdExport
from asyncemu.block.nbd.server_connection import ServerConnection
from asyncemu.errors import ConfigError
from asyncemu.loop import Clock
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.waiting import until
from tests.block.nbd.conftest import DISK_SIZE, Serve, Served
from tests.block.nbd.peer import Peer, Reply, info, option, request

READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = (1 << bit for bit in range(5))
DONE = 1

OK = Reply(7, 0)


def error_of(reply: Reply) -> tuple[int, str]:
    """Error value and words of an error chunk."""
    ((flags, kind, payload),) = reply.chunks
    assert (flags, kind) == (DONE, 0x8001)
    return struct.unpack(">I", payload[:4])[0], payload[6:].decode()


# ---- requests


async def test_read_gives_data_in_a_chunk(serve: Serve) -> None:
    served = await serve()
    served.disk().data[1000:1005] = b"hello"
    peer = await served.peer()
    assert await peer.do(READ, 1000, 5) == Reply(7, 0, ((DONE, 1, struct.pack(">Q", 1000) + b"hello"),))


async def test_read_without_structured_replies_gives_data_behind_a_simple_reply(serve: Serve) -> None:
    served = await serve()
    served.disk().data[:5] = b"hello"
    peer = await served.peer(structured=False)
    assert await peer.do(READ, 0, 5) == OK
    assert await peer.exactly(5) == b"hello"


@pytest.mark.parametrize("flags", [0, DF, FUA])
async def test_read_of_nothing_is_answered(serve: Serve, flags: int) -> None:
    peer = await (await serve()).peer()
    assert await peer.do(READ, 0, 0, flags=flags) == Reply(7, 0, ((DONE, 0, b""),))


async def test_read_that_fails_gives_an_error_and_goes_on(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer()
    served.disk().errors["preadv"] = errno.EIO
    assert error_of(await peer.do(READ, 0, 5)) == (5, "reading from file failed")
    served.disk().errors.clear()
    assert (await peer.do(READ, 0, 5)).chunks[0][1] == 1


async def test_read_that_fails_without_structured_replies_gives_a_simple_error(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer(structured=False)
    served.disk().errors["preadv"] = errno.EIO
    assert await peer.do(READ, 0, 5) == Reply(7, 5)


async def test_write_stores_data(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer()
    assert await peer.do(WRITE, 10, 3, data=b"abc") == OK
    assert served.disk().data[9:14] == b"\0abc\0"
    assert ("flush", 0, 0) not in served.disk().requests


@pytest.mark.parametrize("kind", [READ, WRITE, ZEROES, TRIM])
async def test_force_unit_access_flushes(serve: Serve, kind: int) -> None:
    served = await serve()
    peer = await served.peer()
    # A node has nothing to flush before its first write.
    await peer.do(WRITE, 0, 3, data=b"abc")
    await peer.do(kind, 0, 3, flags=FUA, data=b"abc" if kind == WRITE else b"")
    assert ("flush", 0, 0) in served.disk().requests


async def test_write_of_many_megabytes_arrives_whole(serve: Serve) -> None:
    served = await serve(table={"driver": "memory", "size": 16 << 20})
    peer = await served.peer()
    data = bytes(range(256)) * (16 << 12)
    assert await peer.do(WRITE, 0, len(data), data=data) == OK
    assert served.disk().data == data
    read = await peer.do(READ, 0, len(data))
    assert b"".join(payload[8:] for _, _, payload in read.chunks) == data


@pytest.mark.parametrize(
    ("kind", "method", "value", "message"),
    [
        (WRITE, "pwritev", 28, "writing to file failed"),
        (FLUSH, "flush", 28, "flush failed"),
        (TRIM, "discard", 28, "discard failed"),
        (ZEROES, "write_zeroes", 28, "writing to file failed"),
        (CACHE, "preadv", 28, "caching data failed"),
    ],
)
async def test_request_that_fails_has_qemus_words(
    serve: Serve, kind: int, method: str, value: int, message: str
) -> None:
    served = await serve(export={"read_only": kind == CACHE})
    peer = await served.peer()
    if kind == FLUSH:
        await peer.do(WRITE, 0, 4, data=b"abcd")
    served.disk().errors[method] = errno.ENOSPC
    reply = await peer.do(kind, 0, 0 if kind == FLUSH else 4, data=b"abcd" if kind == WRITE else b"")
    served.disk().errors.clear()
    assert error_of(reply) == (value, message)


async def test_fast_zero_that_is_not_fast_is_not_supported(serve: Serve) -> None:
    served = await serve()
    served.disk().errors["write_zeroes"] = errno.ENOTSUP
    peer = await served.peer()
    assert error_of(await peer.do(ZEROES, 0, 4096, flags=FAST_ZERO))[0] == 95
    assert await peer.do(ZEROES, 0, 4096) == OK


async def test_trim_and_zeroes_reach_the_node(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer()
    assert await peer.do(TRIM, 4096, 8192) == OK
    assert await peer.do(ZEROES, 0, 4096, flags=NO_HOLE) == OK
    assert served.disk().requests == [("discard", 4096, 8192), ("write_zeroes", 0, 4096)]


async def test_read_only_export_refuses_to_write(serve: Serve) -> None:
    served = await serve(export={"read_only": True})
    peer = await served.peer()
    assert error_of(await peer.do(WRITE, 0, 3, data=b"abc")) == (1, "Export is read-only")
    assert (await peer.do(READ, 0, 3)).chunks[0][1] == 1


async def test_block_status_answers_each_context(serve: Serve) -> None:
    served = await serve(export={"allocation_depth": True})
    peer = await served.peer(contexts=(b"base:allocation", b"qemu:allocation-depth"))
    (first, second) = (await peer.do(STATUS, 0, DISK_SIZE)).chunks
    assert first == (0, 5, struct.pack(">III", 0, DISK_SIZE, 0))
    assert second == (DONE, 5, struct.pack(">III", 1, DISK_SIZE, 1))


# ---- bounds


async def test_requests_beyond_sixteen_wait_their_turn(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer()
    disk = served.disk()
    disk.gate.clear()
    await peer.send(b"".join(request(READ, 0, 512, cookie=cookie) for cookie in range(40)))
    await until(lambda: len(disk.requests) == 16)
    await asyncio.sleep(0)
    assert len(disk.requests) == 16
    disk.gate.set()
    assert sorted([(await peer.reply()).cookie for _ in range(40)]) == list(range(40))


async def test_requests_with_much_data_wait_their_turn(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_connection, "MAX_BYTES", 100_000)
    served = await serve()
    peer = await served.peer()
    disk = served.disk()
    disk.gate.clear()
    await peer.send(b"".join(request(READ, 0, 60_000, cookie=cookie) for cookie in range(5)))
    await until(lambda: len(disk.requests) == 2)
    await asyncio.sleep(0)
    assert len(disk.requests) == 2
    disk.gate.set()
    assert [(await peer.reply()).cookie for _ in range(5)] == list(range(5))


async def test_requests_for_many_extents_wait_their_turn(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_connection, "MAX_BYTES", 2 * server_connection._EXTENTS_BYTES)
    served = await serve()
    peer = await served.peer(contexts=[b"base:allocation"])
    connection = next(iter(served.exports[0].connections))
    async with drained(served.exports[0].backend.node):
        await peer.send(b"".join(request(STATUS, 0, 512, cookie=cookie) for cookie in range(5)))
        await until(lambda: "2 in flight" in repr(connection))
        await asyncio.sleep(0)
        waiting = repr(connection)
    assert "2 in flight" in waiting
    assert [(await peer.reply()).cookie for _ in range(5)] == list(range(5))


async def test_client_that_does_not_read_holds_up_nobody_else(serve: Serve) -> None:
    served = await serve()
    slow = await served.peer()
    await slow.send(b"".join(request(READ, 0, DISK_SIZE) for _ in range(20)))
    await until(lambda: len(served.disk().requests) >= 16)
    quick = await served.peer()
    for _ in range(50):
        assert (await quick.do(READ, 0, 512)).chunks[0][1] == 1
    for _ in range(20):
        assert sum(len(payload) - 8 for _, _, payload in (await slow.reply()).chunks) == DISK_SIZE


async def test_many_requests_at_once_give_others_a_turn(serve: Serve) -> None:
    served = await serve()
    busy = await served.peer()
    other = await served.peer()
    await busy.send(request(FLUSH) * 5000)
    assert await other.do(FLUSH) == OK
    for _ in range(5000):
        assert await busy.reply() == OK


async def test_max_connections_lets_the_next_in_when_one_leaves(serve: Serve) -> None:
    served = await serve(max_connections=1)
    first = await served.peer()
    second = await Peer.dial(served.path, client_flags=None)
    await first.do(FLUSH)
    assert served.server.clients == 1
    first.close()
    assert await second.exactly(8) == b"NBDMAGIC"


# ---- bad manners


async def test_handshake_that_takes_too_long_is_ended(serve: Serve, fake_time: FakeClock, fake_clock: Clock) -> None:
    served = await serve(clock=fake_clock, handshake_timeout_ns=1000)
    peer = await Peer.dial(served.path)
    fake_time.advance(1000)
    assert await peer.ended()
    await until(lambda: served.left == [False])
    assert served.reports == ["option negotiation failed: the client took too long"]


async def test_transmission_has_no_time_limit(serve: Serve, fake_time: FakeClock, fake_clock: Clock) -> None:
    served = await serve(clock=fake_clock, handshake_timeout_ns=1000)
    peer = await served.peer()
    await peer.do(FLUSH)
    fake_time.advance(10_000)
    assert await peer.do(FLUSH) == OK


@pytest.mark.parametrize(
    ("data", "report"),
    [
        (b"a" * 16, "Bad magic received"),
        (option(1, b"nope"), "export not found"),
        (b"", "Failed to read opts magic: Unexpected end-of-file before all data were read"),
    ],
)
async def test_handshake_that_fails_is_reported(serve: Serve, data: bytes, report: str) -> None:
    served = await serve()
    peer = await Peer.dial(served.path)
    await peer.send(data)
    peer.socket.shutdown(socket.SHUT_WR)
    assert await peer.ended()
    await until(lambda: served.reports != [])
    assert served.reports == [f"option negotiation failed: {report}"]


async def test_handshake_aborted_is_not_reported(serve: Serve) -> None:
    served = await serve()
    peer = await Peer.dial(served.path)
    assert await peer.ask(2) == [(2, 1, b"")]
    assert await peer.ended()
    await until(lambda: served.left == [False])
    assert served.reports == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"z" * 28, "invalid magic (got 0x7a7a7a7a)"),
        (request(WRITE, 0, 100) + b"a" * 99, "Unexpected end-of-file before all bytes were read"),
        (b"", "Unexpected end-of-file before all bytes were read"),
    ],
)
async def test_transmission_that_is_broken_off_is_reported(serve: Serve, data: bytes, reason: str) -> None:
    served = await serve()
    peer = await served.peer()
    await peer.send(data)
    peer.socket.shutdown(socket.SHUT_WR)
    assert await peer.ended()
    await until(lambda: served.left == [True])
    assert served.reports == [f"Disconnect client, due to: {reason}"]
    assert served.disk().requests == []


async def test_disconnect_answers_what_is_in_flight_and_hangs_up(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer()
    served.disk().gate.clear()
    await peer.send(request(READ, 0, 512) + request(DISC) + request(READ, 0, 512))
    await until(lambda: len(served.disk().requests) == 1)
    served.disk().gate.set()
    assert (await peer.reply()).cookie == 7
    assert await peer.ended()
    await until(lambda: served.left == [True])
    assert (served.reports, len(served.disk().requests)) == ([], 1)


async def test_write_that_is_too_long_is_answered_and_hung_up_on(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer()
    error = error_of(await peer.do(WRITE, 0, (32 << 20) + 1))
    assert error == (22, "len (33554433 ) is larger than max len (33554432)")
    assert await peer.ended()


async def test_write_that_is_too_long_its_data_are_no_requests(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer()
    await peer.send(b"".join(request(READ, 0, DISK_SIZE) for _ in range(8)))
    await until(lambda: len(served.disk().requests) == 8)
    # Nothing of that has been taken in, so the refusal waits behind it.
    await peer.send(request(WRITE, 0, (32 << 20) + 1) + request(WRITE, 0, 3) + b"abc")
    for _ in range(8):
        await peer.reply()
    assert error_of(await peer.reply())[0] == 22
    assert await peer.ended()
    assert bytes(served.disk().data[:3]) == bytes(3)


async def test_client_that_leaves_with_requests_in_flight_lets_them_end(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer()
    served.disk().gate.clear()
    await peer.send(request(WRITE, 0, 3) + b"abc")
    await until(lambda: len(served.disk().requests) == 1)
    peer.close()
    await (await served.peer()).send(b"")
    assert served.left == []
    served.disk().gate.set()
    await until(lambda: served.left == [True])
    assert served.disk().data[:3] == b"abc"


async def test_unix_socket_is_for_its_owner_only(serve: Serve) -> None:
    served = await serve()

    assert served.path.stat().st_mode & 0o777 == 0o600


async def test_bug_in_a_request_ends_the_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve()
    peer = await served.peer()
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, details: errors.append(details["exception"]))

    async def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    # Not the driver's, which would be its author's: EIO, and the connection stays.
    monkeypatch.setattr(served.exports[0].backend, "preadv", broken)
    await peer.send(request(READ, 0, 512))
    assert await peer.ended()
    await until(lambda: served.left == [True])
    assert [type(error) for error in errors] == [ZeroDivisionError]


# ---- drained sections, several homes, the end


async def test_drained_holds_requests_back(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer()
    async with drained(served.exports[0].backend.node):
        await peer.send(request(READ, 0, 512))
        await (await served.peer(structured=False)).send(b"")
        assert served.disk().requests == []
    assert (await peer.reply()).cookie == 7


async def test_drained_does_not_wait_for_a_client_that_does_not_read(serve: Serve) -> None:
    served = await serve()
    slow = await served.peer()
    await slow.send(b"".join(request(READ, 0, DISK_SIZE) for _ in range(10)))
    await until(lambda: len(served.disk().requests) >= 10)
    async with asyncio.timeout(5), drained(served.exports[0].backend.node):
        assert served.exports[0].backend.in_flight == 0


async def test_close_answers_what_is_in_flight(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer()
    served.disk().gate.clear()
    await peer.send(request(READ, 0, 512))
    await until(lambda: len(served.disk().requests) == 1)
    closing = asyncio.ensure_future(served.server.close())
    await until(lambda: not served.server._listeners)
    served.disk().gate.set()
    assert (await peer.reply()).cookie == 7
    await closing
    assert await peer.ended()
    assert served.reports == []


async def test_close_waits_for_no_client_that_does_not_read(
    serve: Serve, fake_time: FakeClock, fake_clock: Clock
) -> None:
    served = await serve(clock=fake_clock)
    slow = await served.peer()
    await slow.send(b"".join(request(READ, 0, DISK_SIZE) for _ in range(10)))
    await until(lambda: len(served.disk().requests) >= 10)
    closing = asyncio.ensure_future(served.server.close(timeout_ns=1000))
    await until(lambda: not served.server._listeners)
    await asyncio.sleep(0)
    assert not closing.done()
    fake_time.advance(1000)
    await closing
    assert served.server.clients == 0


async def test_close_ends_handshakes(serve: Serve) -> None:
    served = await serve()
    peer = await Peer.dial(served.path)
    await until(lambda: served.server.clients == 1)
    await served.server.close()
    assert await peer.ended()


async def test_remove_of_an_export_in_use_is_refused_unless_forced(serve: Serve) -> None:
    served = await serve()
    await served.add("other")
    peer, other = await served.peer(), await served.peer(export=b"other")
    await peer.do(FLUSH)
    export = served.exports[0]
    with pytest.raises(ConfigError, match=r"export 'disk' still in use$"):
        await served.server.remove(export)
    await served.server.remove(export, force=True)
    assert await peer.ended()
    assert await other.do(FLUSH) == OK
    with pytest.raises(AssertionError):
        await served.peer()


async def test_add_of_a_name_that_is_taken_is_refused(serve: Serve) -> None:
    served = await serve()
    with pytest.raises(ConfigError, match=r"NBD server already has export named 'disk'$"):
        served.server.add(NbdExport("disk", served.exports[0].backend))


@pytest.mark.parametrize(
    ("name", "description", "problem"), [("n" * 4097, "", "export name"), ("n", "d" * 4097, "description")]
)
async def test_export_with_a_name_that_is_too_long_is_refused(
    serve: Serve, name: str, description: str, problem: str
) -> None:
    served = await serve()
    with pytest.raises(ConfigError, match=rf"{problem}.* too long$"):
        NbdExport(name, served.exports[0].backend, description=description)


async def test_exports_are_told_apart_by_name(serve: Serve) -> None:
    served = await serve()
    await served.add("other")
    served.disk(1).data[:5] = b"other"
    peer = await served.peer(export=b"other")
    assert (await peer.do(READ, 0, 5)).chunks[0][2][8:] == b"other"


async def test_serve_takes_a_connected_socket(serve: Serve) -> None:
    served: Served = await serve()
    ours, theirs = socket.socketpair()
    served.server.serve(theirs)
    ours.setblocking(False)
    peer = Peer(ours)
    await peer.exactly(18)
    await peer.send(struct.pack(">I", 3))
    assert (await peer.ask(6, info(b"disk")))[-1] == (6, 1, b"")


async def test_connection_says_what_it_is(serve: Serve) -> None:
    served = await serve()
    peer = await served.peer()
    await peer.do(FLUSH)
    (connection,) = served.exports[0].connections
    assert isinstance(connection, ServerConnection)
    assert repr(connection).endswith("0 in flight>")
