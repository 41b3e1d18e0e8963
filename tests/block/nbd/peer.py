# SPDX-License-Identifier: GPL-2.0-or-later
"""Peer: a client that does as it is told, right or wrong, byte by byte. Independent of the client that we ship."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

OPTION_MAGIC = 0x49484156454F5054
ACK = 1


class Reply(NamedTuple):
    """A simple reply (``error``), or all chunks of a structured one: (flags, type, payload)."""

    cookie: int
    error: int
    chunks: tuple[tuple[int, int, bytes], ...] = ()


def option(number: int, data: bytes = b"") -> bytes:
    """An option request."""
    return struct.pack(">QII", OPTION_MAGIC, number, len(data)) + data


def counted(data: bytes) -> bytes:
    """A length and the data."""
    return struct.pack(">I", len(data)) + data


def info(export: bytes, *information: int) -> bytes:
    """Data of INFO and GO."""
    return counted(export) + struct.pack(f">H{len(information)}H", len(information), *information)


def meta(export: bytes, *queries: bytes) -> bytes:
    """Data of LIST_META_CONTEXT and SET_META_CONTEXT."""
    return counted(export) + struct.pack(">I", len(queries)) + b"".join(map(counted, queries))


def request(kind: int, offset: int = 0, length: int = 0, *, flags: int = 0, cookie: int = 7) -> bytes:
    """A request of the transmission."""
    return struct.pack(">IHHQQI", 0x25609513, flags, kind, cookie, offset, length)


class Peer:
    """One connection; at the end of the stream EOFError."""

    #: All that were made; a fixture closes those that a test leaves open.
    made: ClassVar[list[Peer]] = []

    def __init__(self, sock: socket.socket) -> None:
        self.made.append(self)
        self.socket = sock
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def dial(cls, path: Path, client_flags: int | None = 3) -> Peer:
        """Up to the options."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        peer = cls(sock)
        await peer._loop.sock_connect(sock, str(path))
        if client_flags is not None:
            await peer.exactly(18)
            await peer.send(struct.pack(">I", client_flags))
        return peer

    @classmethod
    async def connect(
        cls, path: Path, export: bytes = b"disk", *, structured: bool = True, contexts: Sequence[bytes] = ()
    ) -> Peer:
        """Up to the transmission."""
        peer = await cls.dial(path)
        if structured:
            assert await peer.ask(8) == [(8, ACK, b"")]
        if contexts:
            await peer.ask(10, meta(export, *contexts))
        assert (await peer.ask(7, info(export)))[-1] == (7, ACK, b"")
        return peer

    async def send(self, data: bytes) -> None:
        """All of it."""
        await self._loop.sock_sendall(self.socket, data)

    async def exactly(self, length: int) -> bytes:
        """So many bytes."""
        data = b""
        while len(data) < length:
            more = await self._loop.sock_recv(self.socket, length - len(data))
            if not more:
                raise EOFError(data)
            data += more
        return data

    async def ended(self) -> bool:
        """Has the server hung up? What it sent before is thrown away."""
        try:
            while await self._loop.sock_recv(self.socket, 1 << 16):
                pass
        except ConnectionResetError:
            pass
        return True

    async def ask(self, number: int, data: bytes = b"") -> list[tuple[int, int, bytes]]:
        """An option: (option, type, data) of each reply."""
        await self.send(option(number, data))
        replies = []
        while True:
            _, about, kind, length = struct.unpack(">QIII", await self.exactly(20))
            replies.append((about, kind, await self.exactly(length)))
            if kind == ACK or kind >> 31:
                return replies

    async def reply(self) -> Reply:
        """The next reply, of which all chunks come one behind the other."""
        chunks: list[tuple[int, int, bytes]] = []
        while True:
            if await self.exactly(4) == b"\x67\x44\x66\x98":
                error, cookie = struct.unpack(">IQ", await self.exactly(12))
                return Reply(cookie, error)
            flags, kind, cookie, length = struct.unpack(">HHQI", await self.exactly(16))
            chunks.append((flags, kind, await self.exactly(length)))
            if flags & 1:
                return Reply(cookie, 0, tuple(chunks))

    async def do(self, kind: int, offset: int = 0, length: int = 0, *, flags: int = 0, data: bytes = b"") -> Reply:
        """A request, and its reply."""
        await self.send(request(kind, offset, length, flags=flags) + data)
        return await self.reply()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
