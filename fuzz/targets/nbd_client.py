# SPDX-License-Identifier: GPL-2.0-or-later
"""An NBD server's bytes to the nbd driver, which opens an export, uses it and closes it; or to the list of exports.

    1 byte    how far a proper server has come before, and whether the list is asked for
    then      the stream, in pieces: 2 bytes length, the bytes; what is left at the end is the last piece

A piece comes when the driver has done all that it can do with those before: it may be the answer to a request that has
been sent since. The driver's requests are numbered from 1 on. May be raised inside: ConfigError, BlockError, OSError;
ProtocolError and Refused by the list. When the server has hung up, all that waits for an answer fails.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.flags import FUA
from asyncemu.block.nbd.client_negotiation import ClientNegotiation, Refused
from asyncemu.block.nbd.constants import (
    BASE_ALLOCATION,
    OPT_GO,
    OPT_LIST,
    OPT_SET_META_CONTEXT,
    OPT_STRUCTURED_REPLY,
    REP_ACK,
    REP_ERR_UNSUP,
    REP_INFO,
    REP_META_CONTEXT,
    REP_SERVER,
)
from asyncemu.block.nbd.messages import (
    block_status_chunk,
    data_chunk,
    error_chunk,
    hole_chunk,
    none_chunk,
    simple_reply,
)
from asyncemu.block.nbd.option_messages import (
    BlockSizes,
    ListedExport,
    MetaContext,
    block_size_information,
    export_information,
    option_reply,
)
from asyncemu.errors import ProtocolError
from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers
from fuzz.choices import Choices
from fuzz.driving import drive, image_errors

_DISK_SIZE: Final = 64 << 10
#: Connections that the server takes before it listens no more: the driver may try again.
_CONNECTIONS: Final = 4
#: Pieces of the stream.
_PIECES: Final = 64
#: Turns of the loop after which the driver has done all that it can do without the server: it is in the same loop.
_TURNS: Final = 12
#: Transmission flags: all commands, and several connections.
_ALL: Final = 0xD6D

_GREETING: Final = b"NBDMAGICIHAVEOPT\0\3"
_STRUCTURED: Final = option_reply(OPT_STRUCTURED_REPLY, REP_ACK)
_CONTEXT: Final = (
    option_reply(OPT_SET_META_CONTEXT, REP_META_CONTEXT, MetaContext(7, BASE_ALLOCATION).encode())
    + option_reply(OPT_SET_META_CONTEXT, REP_ACK)
)  # fmt: skip
_GO: Final = (
    option_reply(OPT_GO, REP_INFO, block_size_information(BlockSizes(1, 4096, 1 << 20)))
    + option_reply(OPT_GO, REP_INFO, export_information(_DISK_SIZE, _ALL))
    + option_reply(OPT_GO, REP_ACK)
)
_OLDSTYLE: Final = b"NBDMAGIC" + struct.pack(">QQI", 0x00420281861253, _DISK_SIZE, 3) + bytes(124)
_PREFIXES: Final = (
    b"",
    _GREETING,
    _GREETING + _STRUCTURED + _CONTEXT + _GO,
    _GREETING + option_reply(OPT_STRUCTURED_REPLY, REP_ERR_UNSUP) + _GO,
    _GREETING + _STRUCTURED,
    _GREETING + _STRUCTURED + _CONTEXT,
    _OLDSTYLE,
    b"NBDMAGICIHAVEOPT\0\0",
)
_LISTING: Final = 0x80


def fuzz_one(data: bytes) -> None:
    """Be the server."""
    choices = Choices(data)
    kind = choices.number(1)
    pieces = [_PREFIXES[(kind & ~_LISTING) % len(_PREFIXES)]]
    while choices.left > 2 and len(pieces) < _PIECES:
        pieces.append(choices.take(choices.number(2)))
    pieces.append(choices.rest())
    if kind & _LISTING:
        _list(pieces)
    else:
        drive(lambda context: _connect(context, "" if pieces[0] is _OLDSTYLE else "e", pieces))


def _list(pieces: Sequence[bytes]) -> None:
    """Ask for the list of exports, to the end of the stream or of the list."""
    negotiation = ClientNegotiation("", listing=True)
    try:
        for piece in pieces:
            negotiation.receive(piece)
            while negotiation.step() is not None:
                pass
    except (ProtocolError, Refused):
        return
    if not negotiation.done:
        str(negotiation.end())


async def _connect(context: AioContext, export: str, pieces: Sequence[bytes]) -> None:
    listener = _listener()
    serving = asyncio.get_running_loop().create_task(_serve(listener, pieces))
    path = listener.getsockname()
    try:
        graph = BlockGraph(context, Path("/nonexistent"))
        try:
            with image_errors():
                options = {"driver": "nbd", "export": export, "server": {"type": "unix", "path": path}}
                await _use(await graph.add_table(options, "nbd"))
        finally:
            with image_errors():
                await graph.close()
    finally:
        serving.cancel()
        await asyncio.wait((serving,))
        _forget_waiting(listener)


async def _use(node: BlockNode) -> None:
    """One request of each kind, several in flight together."""
    size = min(node.size, 4096)
    # Two at a time: replies may come in any order.
    await asyncio.gather(*(_quietly(node, request, size) for request in ("read", "status")))
    for request in ("write", "zero", "flush", "discard", "read"):
        await _quietly(node, request, size)


async def _quietly(node: BlockNode, request: str, size: int) -> None:
    with image_errors():
        match request:
            case "read":
                await node.pread(0, size)
            case "status":
                await node.block_status(0, node.size)
            case "write":
                await node.pwritev(0, Buffers.of(bytearray(size)), FUA)
            case "zero":
                await node.write_zeroes(0, size)
            case "discard":
                await node.discard(0, size)
            case _:
                await node.flush()


# ---- the server


async def _serve(listener: socket.socket, pieces: Sequence[bytes]) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(_CONNECTIONS):
        sock, _ = await loop.sock_accept(listener)
        with sock:
            try:
                for piece in pieces:
                    await loop.sock_sendall(sock, piece)
                    await _let_client_work(sock)
                sock.shutdown(socket.SHUT_WR)
                # Closed too early, the kernel would throw away what the client has not read.
                while await loop.sock_recv(sock, 1 << 16):
                    pass
            except OSError:  # the client was first
                continue


async def _let_client_work(sock: socket.socket) -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
        try:
            # What it says is not looked at, but must not fill the socket.
            sock.recv(1 << 16)
        except BlockingIOError:
            pass


@functools.cache
def _listener() -> socket.socket:
    """One for all inputs of this process, of a name that no file has."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    folder = tempfile.TemporaryDirectory(prefix="fuzz-nbd-")
    _kept.append(folder)
    listener.bind(f"{folder.name}/socket")
    listener.listen(8)
    return listener


#: What the listener needs, until the process ends.
_kept: Final[list[object]] = []


def _forget_waiting(listener: socket.socket) -> None:
    """Connections that this input has left in line are not the next one's."""
    for _ in range(2 * _CONNECTIONS):
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return


def seeds() -> Sequence[bytes]:
    """Replies to the requests, of each kind; lists; and handshakes."""
    whole = [
        data_chunk(1, 0, 4096) + bytes(4096) + block_status_chunk(2, 7, [(_DISK_SIZE, 3)]),
        *map(none_chunk, (3, 4, 5)),
        data_chunk(6, 0, 4096) + bytes(4096),
    ]
    replies = (
        whole,
        [data_chunk(1, 1, 4095, 0) + bytes(4095) + hole_chunk(1, 0, 1)],
        [error_chunk(1, 5) + error_chunk(2, 5)],
        [simple_reply(1, 0) + bytes(4096)] + [simple_reply(number, 0) for number in (2, 3, 4, 5)],
        [simple_reply(1, 5) + simple_reply(2, 5)],
    )
    listed = option_reply(OPT_LIST, REP_SERVER, ListedExport("a", "b").encode()) + option_reply(OPT_LIST, REP_ACK)
    handshake = [_STRUCTURED, _CONTEXT, _GO]
    inputs = [(start, each) for start in (2, 3, 6) for each in replies]
    inputs += [(start | _LISTING, [listed, _GO]) for start in range(5)]
    inputs += [(0, [_GREETING, *handshake]), (1, handshake), (4, handshake[1:])]
    return [
        bytes([start]) + b"".join(struct.pack(">H", len(piece)) + piece for piece in pieces) for start, pieces in inputs
    ]
