# SPDX-License-Identifier: GPL-2.0-or-later
"""TrackedRequests: which bytes of a node are being read and written, and who has to wait for whom.

Requests run side by side, as the guest asked for. A *serialising* one does not: a write that does not fill its first or
last block reads that block, changes it and writes it back, and what else was written to it in between would be lost; a
copy-on-read must not overwrite newer data with what it has read. So a serialising request waits for all that came
earlier and touch its bytes, and those that come later wait for it. QEMU: BdrvTrackedRequest.

Deadlock-free: everybody waits only for those that came earlier.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Final

#: An end that is behind every byte.
TO_INFINITY: Final = 1 << 63


class TrackedRequest:
    """One request in flight: the bytes [start, end), in whole blocks when it is serialising."""

    __slots__ = ("end", "over", "serialising", "start")

    def __init__(self, start: int, end: int, serialising: bool) -> None:
        self.start = start
        self.end = end
        self.serialising = serialising
        #: Made by the first who waits for its end.
        self.over: asyncio.Future[None] | None = None


class TrackedRequests:
    """The requests of one node in the order of their arrival. Home context only."""

    __slots__ = ("in_order", "serialising")

    def __init__(self) -> None:
        self.in_order: dict[TrackedRequest, None] = {}
        #: How many of them are serialising.
        self.serialising = 0

    def begin(self, start: int, end: int, serialising: bool = False) -> TrackedRequest:
        """A request arrives; ``wait`` comes next, when there is a reason to."""
        request = TrackedRequest(start, end, serialising)
        self.in_order[request] = None
        if serialising:
            self.serialising += 1
        return request

    def end(self, request: TrackedRequest) -> None:
        """It is done, or has failed."""
        del self.in_order[request]
        if request.serialising:
            self.serialising -= 1
        if request.over is not None:
            request.over.set_result(None)

    def _in_the_way(self, request: TrackedRequest) -> list[TrackedRequest]:
        found: list[TrackedRequest] = []
        for other in self.in_order:
            if other is request:
                break
            if (request.serialising or other.serialising) and other.start < request.end and request.start < other.end:
                found.append(other)
        return found

    async def wait(self, request: TrackedRequest, *, no_wait: bool = False) -> None:
        """Until nothing that came earlier is in its way. ``no_wait``: OSError EBUSY instead of waiting."""
        for other in self._in_the_way(request):
            if no_wait:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            while other in self.in_order:
                if other.over is None:
                    other.over = asyncio.get_running_loop().create_future()
                # Shielded: it is shared by all who wait, and one of them may be cancelled.
                await asyncio.shield(other.over)
