# SPDX-License-Identifier: GPL-2.0-or-later
"""The receive side: data in order for the owner, data out of order put together, and the window that allows for both.

    taken by the owner | waits in the queue | next: RCV.NXT   blocks out of order     | edge
                       |<--------------------- capacity ---------------------------->|

All memory is between the owner and the edge, so it is bounded by the capacity. An owner that takes nothing closes the
window. The edge never moves back (RFC 9293, 3.8.6).
"""

from __future__ import annotations

from typing import Final

from asyncemu.memory.buffers import Buffers
from asyncemu.net.tcp.byte_queue import ByteQueue
from asyncemu.net.tcp.sequence import MASK

#: Blocks out of order that are kept. More means a sender of tiny pieces, who sends them again.
MAX_BLOCKS: Final = 64
#: Views that the queue hands out at a time: Linux takes 1024 (IOV_MAX).
MAX_VIEWS: Final = 512


class Receiver:
    """Sequence numbers are unwrapped."""

    __slots__ = (
        "_blocks",
        "_lent_length",
        "_low",
        "_recent",
        "_step",
        "_update_step",
        "advertised",
        "edge",
        "fin",
        "lent",
        "mss",
        "next",
        "queue",
        "shift",
        "unacknowledged",
    )

    def __init__(self, capacity: int) -> None:
        self.queue = ByteQueue(capacity)
        self.start(0, 1, 0)
        #: Bytes that came in order since the last ACK went out.
        self.unacknowledged = 0
        #: Where the peer's FIN is, once seen.
        self.fin: int | None = None
        #: In order, not in the queue: it is the caller's memory.
        self.lent = Buffers()
        self._lent_length = 0
        #: Out of order: start and data, sorted, with a gap before each.
        self._blocks: list[tuple[int, bytearray]] = []
        #: In the block that came last.
        self._recent = 0

    def start(self, first: int, mss: int, shift: int) -> None:
        """The peer's data begins at ``first``, comes in segments of up to ``mss`` bytes, and it scales our windows."""
        # What can't be told can't be used.
        capacity = min(self.queue.capacity, 0xFFFF << shift)
        self.shift = shift
        #: RCV.NXT.
        self.next = first
        #: What lies behind is not accepted. It moves with what the owner takes.
        self.edge = first + capacity
        #: The edge that the peer knows.
        self.advertised = first
        self.mss = mss
        #: By how much the edge moves at least, in an ACK, and by how much for one of its own: RFC 1122, 4.2.3.3.
        self._step = min(capacity // 2, mss)
        self._update_step = min(capacity // 2, 2 * mss)
        #: A peer that knows of more room than this does not wait for an ACK of its own: that of its data comes in time.
        #: Half of what the SYN could tell, so that the first data draws none.
        self._low = min(capacity, 0xFFFF) // 2

    @property
    def has_gap(self) -> bool:
        """Does data wait for what is missing before it?"""
        return bool(self._blocks)

    # ---- arrival

    def accept(self, start: int, data: Buffers, length: int) -> bool:
        """Data at ``start``; what the window does not allow, or is there already, is cut off. True: RCV.NXT has moved.

        What is in order is ``lent`` then, or in the queue when something waits there.
        """
        if start != self.next or self._blocks or start + length > self.edge or self.fin is not None:
            data, length = self._fitting(start, data, length)
            if not length:
                return False
        self.next += length
        self.unacknowledged += length
        if self.queue.length:
            self._keep(data)
        else:
            self.lent = data
            self._lent_length = length
        return True

    def _fitting(self, start: int, data: Buffers, length: int) -> tuple[Buffers, int]:
        """What is in order now, with what it was missing for; and how much that is."""
        end = min(start + length, self.edge)
        if self.fin is not None:
            end = min(end, self.fin)
        cut = max(self.next - start, 0)
        if start + cut >= end:
            return data, 0
        data = data.slice(cut, end - start - cut)
        start += cut
        if start > self.next:
            self._out_of_order(start, b"".join(data))
            return data, 0
        # The gap is filled, up to the first block that reaches further.
        while self._blocks and self._blocks[0][0] <= end:
            block_start, block = self._blocks.pop(0)
            if block_start + len(block) > end:
                data.append(memoryview(block)[end - block_start :])
                end = block_start + len(block)
        return data, end - start

    def _out_of_order(self, start: int, data: bytes) -> None:
        blocks = self._blocks
        end = start + len(data)
        self._recent = start
        # Blocks first .. last-1 touch the new data.
        first = 0
        while first < len(blocks) and blocks[first][0] + len(blocks[first][1]) < start:
            first += 1
        last = first
        while last < len(blocks) and blocks[last][0] <= end:
            last += 1
        if first == last:
            if len(blocks) < MAX_BLOCKS:
                blocks.insert(first, (start, bytearray(data)))
            return
        # What came first stays; the first block grows in place, so that a run of segments is not copied each time.
        block_start, block = blocks[first]
        if start < block_start:
            block[:0] = data[: block_start - start]
            block_start = start
        for index in range(first, last):
            have = block_start + len(block)
            if index > first:
                other_start, other = blocks[index]
                if other_start > have:
                    block += data[have - start : other_start - start]
                    have = other_start
                block += other[have - other_start :]
                have = block_start + len(block)
        if end > have:
            block += data[have - start :]
        blocks[first:last] = [(block_start, block)]

    def sack_blocks(self, limit: int) -> tuple[tuple[int, int], ...]:
        """Edges on the wire of what is out of order, the one that came last first. RFC 2018, 4."""
        edges = [(start, start + len(block)) for start, block in self._blocks]
        edges.sort(key=lambda edge: not edge[0] <= self._recent < edge[1])
        return tuple((start & MASK, end & MASK) for start, end in edges[:limit])

    # ---- the owner's side

    def consumed(self, length: int) -> None:
        """The owner has taken ``length`` bytes of what is lent, or of the queue; the rest of what is lent is copied."""
        self.edge += length
        if not self.lent:
            # Nothing is left after an abort() in between.
            self.queue.drop(min(length, self.queue.length))
            return
        lent, self.lent = self.lent, Buffers()
        if length != self._lent_length:
            self._keep(lent.split(length)[1])

    def _keep(self, data: Buffers) -> None:
        for view in data:
            self.queue.append(view)

    # ---- window

    def window(self) -> int:
        """The window to tell the peer, in bytes: it grows by steps that are worth a segment. RFC 1122, 4.2.3.3."""
        edge = self.edge
        if edge - self.advertised < self._step:
            edge = max(self.advertised, self.next)
        return edge - self.next

    def update_due(self) -> bool:
        """Is the peer short of room, and has the window grown so much that it is to be told without being asked?"""
        return self.edge - self.advertised >= self._update_step and self.advertised - self.next <= self._low

    def told(self, window: int) -> None:
        """An ACK with this window, in bytes, is on its way."""
        self.advertised = self.next + window
        self.unacknowledged = 0

    def clear(self) -> None:
        """Forget all data."""
        self.queue.clear()
        self._blocks.clear()
        self.lent = Buffers()
