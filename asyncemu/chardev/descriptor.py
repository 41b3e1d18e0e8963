# SPDX-License-Identifier: GPL-2.0-or-later
"""A file descriptor as a chardev's source or sink, with its flow control.

Two kinds. What epoll watches (terminals, pipes, sockets) is non-blocking and handled when ready. What epoll refuses
with EPERM (regular files, /dev/null) never makes anybody wait: it is read a piece a round, and written directly.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable
from typing import Any, Final

from asyncemu.chardev.chardev import Chardev
from asyncemu.errors import ChardevError
from asyncemu.loop import BottomHalf

logger: Final = logging.getLogger("asyncemu.chardev")

#: Bytes per read at most: a front end takes far less at a time, and the loop is not held up.
READ_SIZE: Final = 4096


def epoll_watches(fd: int) -> bool:
    """Can an event loop wait for ``fd``? False: it is always ready (epoll_ctl(2), EPERM)."""
    with select.epoll() as epoll:
        try:
            epoll.register(fd, select.EPOLLIN)
        except PermissionError:
            return False
    return True


class Source:
    """Reads ``fd`` while the chardev has room, up to its end. Does not own ``fd``; ``close`` before it is closed."""

    def __init__(self, chardev: Chardev[Any], fd: int, on_end: Callable[[], object]) -> None:
        self._chardev = chardev
        self._fd = fd
        self._on_end = on_end
        self._loop = chardev.context.loop
        self._next_piece: BottomHalf | None = None
        if not epoll_watches(fd):
            self._next_piece = chardev.context.bh_new(self._ready, f"{chardev.id}-read")
        self.reading = False
        self._ended = False

    def resume(self) -> None:
        """Read from now on, when there is room."""
        if self._ended or self.reading or self._chardev.room() <= 0:
            return
        self.reading = True
        if self._next_piece is not None:
            self._next_piece.schedule()
        else:
            self._loop.add_reader(self._fd, self._ready)

    def _pause(self) -> None:
        if not self.reading:
            return
        self.reading = False
        if self._next_piece is not None:
            self._next_piece.cancel()
        else:
            self._loop.remove_reader(self._fd)

    def _ready(self) -> None:
        room = self._chardev.room()
        if room <= 0:
            self._pause()
            return
        try:
            data = os.read(self._fd, min(room, READ_SIZE))
        except BlockingIOError:
            return
        except OSError:
            # EIO: the terminal hung up. ECONNRESET: so did the peer. Both are an end, and whose fault does not matter.
            data = b""
        if not data:
            self.close()
            self._on_end()
            return
        self._chardev.deliver(data)
        if self.reading and self._chardev.room() <= 0:
            self._pause()
        if self.reading and self._next_piece is not None:
            self._next_piece.schedule()

    def close(self) -> None:
        """Read no more."""
        self._pause()
        self._ended = True


class Sink:
    """Writes to ``fd`` what fits, and the chardev's buffer when more fits. Does not own ``fd``.

    After an error (the reader is gone, the disk is full) it takes and discards everything; ``on_error`` is told once.
    """

    def __init__(self, chardev: Chardev[Any], fd: int, on_error: Callable[[OSError], object] | None = None) -> None:
        self._chardev = chardev
        self._fd = fd
        self._on_error = on_error or self._report
        self._loop = chardev.context.loop
        self._watched = epoll_watches(fd)
        self._waiting = False
        self._broken = False

    def write(self, data: bytes) -> int:
        """What ``Chardev.transmit`` returns."""
        if self._broken:
            return len(data)
        sent = 0
        try:
            # What epoll refuses takes all in one go, except at the end of a disk: the next write gets the error then.
            while sent < len(data):
                sent += os.write(self._fd, data[sent:] if sent else data)
                if self._watched:
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self.close()
            self._on_error(error)
            return len(data)
        if sent < len(data) and not self._waiting:
            self._waiting = True
            self._loop.add_writer(self._fd, self._ready)
        return sent

    def _ready(self) -> None:
        if self._chardev.flush_unsent():
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._fd)

    def _report(self, error: OSError) -> None:
        failure = ChardevError(self._chardev.id, error.errno or 0, "write; further output is discarded")
        logger.error("%s", failure)

    def close(self) -> None:
        """Write no more."""
        self._stop_waiting()
        self._broken = True
