# SPDX-License-Identifier: GPL-2.0-or-later
"""TftpService: files below a folder of the host, for the TFTP server; opened and read by worker threads."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Hashable
from pathlib import Path
from typing import Final, NamedTuple

from asyncemu.coroutines import start
from asyncemu.net.packets import tftp, udp
from asyncemu.net.user.packet import Packet
from asyncemu.net.user.stack import Stack
from asyncemu.net.user.tftp import Action, Close, Open, Read, Send, TftpServer

_PORT: Final = 69

#: Bytes of the file that are read at a time; a block is much less.
READ_AHEAD: Final = 256 << 10


class Client(NamedTuple):
    """A port of the guest, and our address that it has asked."""

    guest: bytes
    port: int
    server: bytes


class _File:
    """An open file, and the part of it that was read."""

    __slots__ = ("ahead", "ahead_at", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ahead = b""
        self.ahead_at = 0


class TftpService:
    """Home: the stack's."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.armed: int | None = None
        self.server = TftpServer()
        self._stack = stack
        self._folder = folder
        self._files: dict[Hashable, _File] = {}
        self._closed = False

    def receive(self, packet: Packet, datagram: udp.Header) -> None:
        """A packet of a client. Raises Malformed."""
        header = packet.header
        payload = packet.copied()[datagram.start : datagram.end]
        client = Client(header.source, datagram.source_port, header.destination)
        self._do(self.server.receive(payload, client, self._stack.now))

    def _do(self, actions: list[Action]) -> None:
        todo = deque(actions)
        while todo:
            action = todo.popleft()
            if isinstance(action, Send):
                client = action.client
                assert isinstance(client, Client)
                self._stack.send_udp((client.server, _PORT), (client.guest, client.port), action.payload)
            elif isinstance(action, Open):
                start(self._stack.context, self._open(action))
            elif isinstance(action, Read):
                file = self._files.get(action.client)
                begin = action.offset - file.ahead_at if file is not None else 0
                if file is not None and begin >= 0 and begin + action.length <= len(file.ahead):
                    block = file.ahead[begin : begin + action.length]
                    todo.extend(self.server.have(action.client, block, self._stack.now))
                else:
                    start(self._stack.context, self._read(action))
            else:
                assert isinstance(action, Close)
                self._close(action.client)
        self._stack.deadlines.touch(self)

    async def _open(self, action: Open) -> None:
        client = action.client
        try:
            fd, size = await self._stack.context.worker_pool.run(_open_below, self._folder, action.name)
        except OSError as error:
            code = tftp.NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else tftp.ACCESS_VIOLATION
            message = "File not found" if code == tftp.NOT_FOUND else "Access violation"
            actions = self.server.refused(client, code, message)
        else:
            if self._closed:
                os.close(fd)
                return
            self._close(client)
            self._files[client] = _File(fd)
            actions = self.server.opened(client, size, self._now())
        self._do(actions)

    async def _read(self, action: Read) -> None:
        file = self._files.get(action.client)
        if file is None:
            return
        length = max(READ_AHEAD, action.length)
        # Of its own, as the file may be closed meanwhile.
        fd = os.dup(file.fd)
        try:
            data = await self._stack.context.worker_pool.run(os.pread, fd, length, action.offset)
        except OSError:
            actions = self.server.refused(action.client, tftp.ACCESS_VIOLATION, "Access violation")
        else:
            file.ahead, file.ahead_at = data, action.offset
            actions = self.server.have(action.client, data[: action.length], self._now())
        finally:
            os.close(fd)
        if not self._closed:
            self._do(actions)

    def _now(self) -> int:
        self._stack.now = self._stack.clock.now()
        return self._stack.now

    def next_deadline(self) -> int | None:
        """See Owner."""
        return self.server.next_deadline()

    def on_deadline(self, now: int) -> None:
        """See Owner."""
        self._stack.now = now
        self._do(self.server.expire(now))

    def _close(self, client: Hashable) -> None:
        file = self._files.pop(client, None)
        if file is not None:
            os.close(file.fd)

    def close(self) -> None:
        """Close all files."""
        self._closed = True
        for client in list(self._files):
            self._close(client)


def _open_below(folder: Path, name: str) -> tuple[int, int]:
    """Open a plain file for reading: descriptor and size. In a worker thread. OSError, also when a link leads out."""
    root = folder.resolve(strict=True)
    path = (folder / name).resolve(strict=True)
    if not path.is_relative_to(root):
        raise PermissionError(errno.EACCES, "leads out of the folder")
    # All links are followed by now; not to be held up by a FIFO.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "is no plain file")
    return fd, status.st_size
