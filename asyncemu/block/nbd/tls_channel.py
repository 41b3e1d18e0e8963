# SPDX-License-Identifier: GPL-2.0-or-later
"""TlsChannel: TLS over a socket, by ``ssl``'s own state machine between two memory buffers.

Bounded: what was received and not decrypted is at most one receive, what was encrypted and not sent at most what one
``send`` takes.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Final

from asyncemu.block.nbd.channel import Channel, Piece, SocketChannel
from asyncemu.block.nbd.tls import TlsCredentials
from asyncemu.coroutines import yield_until_fd_readable, yield_until_fd_writable
from asyncemu.memory.buffers import Buffers

#: Bytes received at once; a TLS record has at most 16 KiB and some.
_RECEIVE_SIZE: Final = 128 << 10
#: Bytes that one ``send`` takes.
_SEND_SIZE: Final = 256 << 10


class TlsChannel:
    """See Channel. ``handshake`` before anything else."""

    def __init__(self, below: SocketChannel, credentials: TlsCredentials, server_name: str | None) -> None:
        self._below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = credentials.wrap(self._incoming, self._outgoing, server_name)
        self._received = memoryview(bytearray(_RECEIVE_SIZE))
        self._unsent = memoryview(b"")
        self.has_unread = False

    @property
    def has_unsent(self) -> bool:
        """See Channel."""
        return bool(self._unsent) or self._outgoing.pending > 0

    async def handshake(self) -> None:
        """Raises ssl.SSLError or OSError: there is no trust."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush_all()
                try:
                    if not self._take_in():
                        raise ConnectionResetError("the peer hung up during the TLS handshake") from None
                except BlockingIOError:
                    await yield_until_fd_readable(self.fileno())
            except ssl.SSLError:
                # The peer is to learn why.
                await self._flush_all()
                raise
            else:
                await self._flush_all()
                self.has_unread = self._incoming.pending > 0 or self._tls.pending() > 0
                return

    async def _flush_all(self) -> None:
        while self.has_unsent:
            try:
                self.flush()
            except BlockingIOError:
                await yield_until_fd_writable(self.fileno())

    def fileno(self) -> int:
        """See Channel."""
        return self._below.fileno()

    def _take_in(self) -> int:
        """Receive ciphertext; how many bytes, 0 at the end."""
        count = self._below.receive(Buffers((self._received,)))
        if count:
            self._incoming.write(self._received[:count])
        else:
            self._incoming.write_eof()
        return count

    def receive(self, targets: Buffers) -> int:
        """See Channel. A stream that ends without TLS saying so ends all the same: NBD's own messages tell more."""
        target = targets[0]
        while True:
            try:
                count = self._tls.read(len(target), target)
            except ssl.SSLWantReadError:
                self.has_unread = False
                self._take_in()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return 0
            else:
                self.has_unread = self._tls.pending() > 0 or self._incoming.pending > 0
                return int(count)

    def send(self, pieces: Sequence[Piece]) -> int:
        """See Channel."""
        if self.has_unsent:
            self.flush()
            if self.has_unsent:
                raise BlockingIOError
        taken = 0
        for piece in pieces:
            part = memoryview(piece)[: _SEND_SIZE - taken]
            while part:
                done = self._tls.write(part)
                taken += done
                part = part[done:]
            if taken == _SEND_SIZE:
                break
        try:
            self.flush()
        except BlockingIOError:
            return taken
        return taken

    def flush(self) -> None:
        """See Channel."""
        while self.has_unsent:
            if not self._unsent:
                self._unsent = memoryview(self._outgoing.read())
            self._unsent = self._unsent[self._below.send((self._unsent,)) :]

    def shutdown(self) -> None:
        """See Channel. Says goodbye in TLS if that goes at once."""
        try:
            self._tls.unwrap()
        except (ssl.SSLError, ValueError, OSError):
            pass
        try:
            self.flush()
        except OSError:
            pass
        self._below.shutdown()

    def close(self) -> None:
        """See Channel."""
        self._below.close()


async def start_tls(channel: Channel, credentials: TlsCredentials, server_name: str | None = None) -> TlsChannel:
    """TLS over ``channel``, which is a plain one. Raises ssl.SSLError or OSError."""
    assert isinstance(channel, SocketChannel)
    secure = TlsChannel(channel, credentials, server_name)
    await secure.handshake()
    return secure
