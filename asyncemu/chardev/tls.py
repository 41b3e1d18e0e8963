# SPDX-License-Identifier: GPL-2.0-or-later
"""TlsLayer: TLS between a wire and a codec, by ``ssl``'s own state machine between two memory buffers; no I/O.

Bounded: what is fed and not read is at most what the caller feeds before it reads, and a TLS record (16 KiB).
Loaded where a chardev has ``tls-creds`` only.
"""

from __future__ import annotations

import ssl

from asyncemu.tls_credentials import TlsCredentials


class TlsLayer:
    """One connection's. ``server_name``: whom a server's certificate must be for; None: that is not looked at."""

    def __init__(self, credentials: TlsCredentials, server_name: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = credentials.wrap(self._incoming, self._outgoing, server_name)
        #: Is the handshake over?
        self.established = False

    def feed(self, data: bytes) -> None:
        """Bytes from the wire; none: its end."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def advance(self) -> str:
        """Go on with the handshake; why there is no trust, empty while there may be some."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return ""
        except ssl.SSLError as error:
            return error.reason or str(error)
        self.established = True
        return ""

    @property
    def has_unread(self) -> bool:
        """Might ``read`` give something although nothing more is fed?"""
        return self._tls.pending() > 0 or self._incoming.pending > 0

    def read(self, limit: int) -> bytes | None:
        """Up to ``limit`` bytes, none at the end; None: more must be fed first."""
        try:
            return self._tls.read(limit)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError:
            # A goodbye, a stream that is cut off, or one that is broken: all of them are the end.
            return b""

    def write(self, data: bytes) -> None:
        """Data for the peer."""
        while data:
            data = data[self._tls.write(data) :]

    def say_goodbye(self) -> None:
        """After it nothing is written."""
        try:
            self._tls.unwrap()
        except (ssl.SSLError, ValueError):
            pass  # the peer need not say it, too

    def take_outgoing(self) -> bytes:
        """What is to be sent."""
        return self._outgoing.read()
