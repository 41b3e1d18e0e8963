# SPDX-License-Identifier: GPL-2.0-or-later
"""An NBD client's bytes, at any point of the protocol, to a server with a small disk behind it.

    1 byte    how far a proper client has come before: nothing, the flags, or the transmission of several kinds
    then      the stream, in pieces: 2 bytes length, the bytes; what is left at the end is the last piece

Nothing may be raised: what a client does wrong ends its connection. All that is in flight when the client hangs up
comes to its end, and the server has no client left.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asyncemu.block import BlockGraph
from asyncemu.block.nbd.constants import (
    BASE_ALLOCATION,
    CMD_BLOCK_STATUS,
    CMD_CACHE,
    CMD_DISC,
    CMD_FLUSH,
    CMD_READ,
    CMD_TRIM,
    CMD_WRITE,
    CMD_WRITE_ZEROES,
    OPT_ABORT,
    OPT_EXPORT_NAME,
    OPT_GO,
    OPT_INFO,
    OPT_LIST,
    OPT_LIST_META_CONTEXT,
    OPT_SET_META_CONTEXT,
    OPT_STARTTLS,
    OPT_STRUCTURED_REPLY,
    QEMU_ALLOCATION_DEPTH,
)
from asyncemu.block.nbd.export import NbdExport, export_backend
from asyncemu.block.nbd.messages import Request
from asyncemu.block.nbd.option_messages import InfoRequest, MetaContextRequest, option_request
from asyncemu.block.nbd.server import NbdServer
from asyncemu.loop import AioContext
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from fuzz.choices import Choices
from fuzz.driving import Defect, drive

#: Bytes: replies are no longer.
_DISK_SIZE: Final = 64 << 10
_NAME: Final = "disk"

_FLAGS: Final = struct.pack(">I", 3)
_GO: Final = option_request(OPT_GO, InfoRequest(_NAME, (3,)).encode())
_STRUCTURED: Final = option_request(OPT_STRUCTURED_REPLY)
_CONTEXTS: Final = option_request(
    OPT_SET_META_CONTEXT, MetaContextRequest(_NAME, (BASE_ALLOCATION, QEMU_ALLOCATION_DEPTH)).encode()
)
#: What a proper client has sent before.
_PREFIXES: Final = (
    b"",
    _FLAGS,
    _FLAGS + _STRUCTURED + _CONTEXTS + _GO,
    _FLAGS + _GO,
    _FLAGS + _STRUCTURED,
    struct.pack(">I", 0) + option_request(OPT_EXPORT_NAME, _NAME.encode()),
)
_READ_ONLY: Final = 0x80


def fuzz_one(data: bytes) -> None:
    """Be the client."""
    drive(lambda context: _serve(context, Choices(data)))


async def _serve(context: AioContext, choices: Choices) -> None:
    kind = choices.number(1)
    graph = BlockGraph(context, Path("/nonexistent"))
    node = await graph.add(MemoryDisk, MemoryDiskOptions(size=_DISK_SIZE), "disk")
    writable = not kind & _READ_ONLY
    backend = export_backend("export", context, writable=writable)
    await backend.insert(node)
    server = NbdServer(context)
    server.add(NbdExport(_NAME, backend, read_only=not writable, allocation_depth=True, description="d"))
    ours, theirs = socket.socketpair()
    try:
        server.serve(theirs)
        await _talk(ours, _PREFIXES[(kind & ~_READ_ONLY) % len(_PREFIXES)], choices)
        await server.close()
    finally:
        ours.close()
    if server.clients or backend.in_flight:
        raise Defect(f"{server.clients} clients and {backend.in_flight} requests are left")
    await backend.remove()
    await graph.close()


async def _talk(sock: socket.socket, prefix: bytes, choices: Choices) -> None:
    """Send all, hang up, and read until the server does, too."""
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    reading = loop.create_task(_read_to_end(sock))
    try:
        await loop.sock_sendall(sock, prefix)
        while choices.left:
            await loop.sock_sendall(sock, choices.take(choices.number(2)) if choices.left > 2 else choices.rest())
        sock.shutdown(socket.SHUT_WR)
    except OSError:  # the server was first
        pass
    await reading


async def _read_to_end(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(sock, 1 << 16):
            pass
    except ConnectionResetError:
        return


def seeds() -> Sequence[bytes]:
    """Each option, and each request in each kind of session."""
    meta = MetaContextRequest(_NAME, (BASE_ALLOCATION, "qemu:")).encode()
    options = {
        OPT_LIST: b"",
        OPT_INFO: InfoRequest(_NAME, (0, 1, 2, 3)).encode(),
        OPT_GO: InfoRequest(_NAME, ()).encode(),
        OPT_STARTTLS: b"",
        OPT_STRUCTURED_REPLY: b"",
        OPT_LIST_META_CONTEXT: meta,
        OPT_SET_META_CONTEXT: meta,
        OPT_ABORT: b"",
        OPT_EXPORT_NAME: _NAME.encode(),
    }
    inputs = [(start, option_request(number, data)) for start in (1, 4) for number, data in options.items()]
    for start in (2, 3, 5, 2 | _READ_ONLY):
        for kind in (CMD_READ, CMD_WRITE_ZEROES, CMD_TRIM, CMD_FLUSH, CMD_CACHE, CMD_BLOCK_STATUS, CMD_DISC):
            length = 0 if kind in (CMD_FLUSH, CMD_DISC) else 5000
            inputs.append((start, Request(0, kind, 1, 0, length).encode() + Request(1, CMD_FLUSH, 2, 0, 0).encode()))
        inputs.append((start, Request(1, CMD_WRITE, 1, 100, 20).encode() + bytes(20)))
    return [bytes([start]) + struct.pack(">H", len(stream)) + stream for start, stream in inputs]
