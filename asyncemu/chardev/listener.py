# SPDX-License-Identifier: GPL-2.0-or-later
"""Listener: the listening sockets of a server, one client at a time; the others wait in the backlog."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from asyncemu.loop import AioContext, home

#: Seconds until accept is tried again after the host had no descriptor or memory for it. Arbitrary.
ACCEPT_PAUSE: Final = 1.0


class Listener:
    """Owns ``sockets``, and ``file``, the one of a unix socket. ``on_client`` gets who comes while it is welcoming.

    ``on_error`` is told why a client can't be accepted now, or why ``on_client`` raised OSError; it is tried again.
    """

    def __init__(
        self,
        context: AioContext,
        sockets: Sequence[socket.socket],
        file: Path | None,
        on_client: Callable[[socket.socket], object],
        on_error: Callable[[OSError], object],
    ) -> None:
        self.context = context
        self.sockets = sockets
        self._file = (file, file.stat()) if file is not None else None
        self._on_client = on_client
        self._on_error = on_error
        self._again: asyncio.TimerHandle | None = None

    @home
    def welcome(self) -> None:
        """Accept the next client, and no other behind it."""
        for listener in self.sockets:
            self.context.loop.add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client gave up already
        except OSError as error:
            # EMFILE and the like: the client stays where he is, and the listener readable.
            self._later(error)
            return
        self._pause()
        try:
            self._on_client(connection)
        except OSError as error:
            self._later(error)

    def _later(self, error: OSError) -> None:
        self._on_error(error)
        self._pause()
        self._again = self.context.loop.call_later(ACCEPT_PAUSE, self.welcome)

    def _pause(self) -> None:
        for listener in self.sockets:
            self.context.loop.remove_reader(listener.fileno())

    @home
    def close(self) -> None:
        """Listen no more, and take the socket file away if it is still ours."""
        if self._again is not None:
            self._again.cancel()
        self._pause()
        for listener in self.sockets:
            listener.close()
        self.sockets = ()
        if self._file is not None:
            path, made = self._file
            self._file = None
            if path.exists() and os.path.samestat(path.stat(), made):
                path.unlink()
