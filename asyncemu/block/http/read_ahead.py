# SPDX-License-Identifier: GPL-2.0-or-later
"""ReadAhead: pieces of a file that were fetched, or are on their way. QEMU: CURLState.

A piece begins where a read has asked, and is longer than it: what comes next is on the way already. A read within a
piece waits until its bytes are there, not until all of it is. The pieces are few, and the one that was used longest ago
makes room for a new one, so memory is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

#: Pieces that are kept, and so also requests to the server at once. QEMU: CURL_NUM_STATES.
PIECES: Final = 8


class Piece:
    """``length`` bytes from ``start`` on, of which those in ``data`` are there."""

    def __init__(self, start: int, length: int) -> None:
        self.start = start
        self.length = length
        self.data = bytearray()
        #: Is something on its way?
        self.fetching = True
        #: Why nothing comes any more.
        self.error: Exception | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def covers(self, start: int, end: int) -> bool:
        """Are these bytes there, or on their way?"""
        stop = self.start + (self.length if self.fetching else len(self.data))
        return self.start <= start and end <= stop

    def received(self, chunk: bytes) -> None:
        """More of it is there."""
        self.data += chunk
        self._wake()

    def ended(self, error: Exception | None) -> None:
        """Nothing comes any more."""
        self.fetching = False
        self.error = error
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for needed, future in waiting:
            if self.fetching and len(self.data) < needed:
                self._waiting.append((needed, future))
            elif not future.done():
                future.set_result(None)

    def wait(self, end: int) -> Awaitable[None]:
        """Until the bytes before ``end`` are there, or it is clear that they won't be."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        needed = end - self.start
        if len(self.data) >= needed or not self.fetching:
            future.set_result(None)
        else:
            self._waiting.append((needed, future))
        return future

    def take(self, start: int, end: int) -> memoryview | None:
        """These bytes, or None: they did not come."""
        if end - self.start > len(self.data):
            return None
        # A copy of what is wanted only: while a view of it lives, a bytearray can't grow.
        return memoryview(bytes(memoryview(self.data)[start - self.start : end - self.start]))


class ReadAhead:
    """The pieces of a file of ``size`` bytes."""

    def __init__(self, size: int, ahead: int) -> None:
        self.size = size
        self.ahead = ahead
        #: The one that was used last is the last.
        self._pieces: list[Piece] = []
        self._room: asyncio.Future[None] | None = None

    def find(self, start: int, end: int) -> Piece | None:
        """The piece in which these bytes are, or will be."""
        for piece in reversed(self._pieces):
            if piece.covers(start, end):
                self._pieces.remove(piece)
                self._pieces.append(piece)
                return piece
        return None

    async def room(self) -> None:
        """Until a new piece has a place."""
        while len(self._pieces) >= PIECES and all(piece.fetching for piece in self._pieces):
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            # Shielded: it is shared by all who wait, and one of them may be cancelled.
            await asyncio.shield(self._room)

    def begin(self, start: int, end: int) -> Piece:
        """A new piece, to be fetched; there is ``room``."""
        if len(self._pieces) >= PIECES:
            self._pieces.remove(next(piece for piece in self._pieces if not piece.fetching))
        piece = Piece(start, min(end + self.ahead, self.size) - start)
        self._pieces.append(piece)
        return piece

    def ended(self, piece: Piece, error: Exception | None) -> None:
        """Nothing of ``piece`` comes any more."""
        piece.ended(error)
        if not piece.data and piece in self._pieces:
            self._pieces.remove(piece)
        if self._room is not None:
            self._room.set_result(None)
            self._room = None
