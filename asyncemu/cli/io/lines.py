# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines from the standard input, a terminal's or a script's, while the loop goes on serving requests."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from asyncemu.coroutines import yield_until_fd_readable

#: Bytes of one read, and of the longest line.
_AT_ONCE: Final = 64 << 10


class LineReader:
    """Lines of a descriptor, as bytes come."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._received = bytearray()
        self._ended = False

    async def next_line(self) -> str | None:
        """Without the newline; None at the end. A line that never ends comes in pieces."""
        while b"\n" not in self._received and not self._ended and len(self._received) < _AT_ONCE:
            await self._until_readable()
            data = os.read(self._fd, _AT_ONCE)
            self._received += data
            self._ended = not data
        if not self._received:
            return None
        line, _, rest = self._received.partition(b"\n")
        self._received = rest
        return line.decode("utf-8", "surrogateescape")

    async def _until_readable(self) -> None:
        try:
            await yield_until_fd_readable(self._fd)
        except PermissionError:
            # A regular file, which epoll(7) does not take, as it is always ready. Requests get their turn all the same.
            await asyncio.sleep(0)
