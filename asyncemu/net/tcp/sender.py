# SPDX-License-Identifier: GPL-2.0-or-later
"""The send side: what waits to be sent, what waits for its ACK, and which part goes out next.

        una: SND.UNA         next: SND.NXT        max              end
    acknowledged | sent, not acknowledged          | not sent yet  | FIN
                 |<-------------- queue -------------------------->|

``next`` is behind ``max`` when what was sent is sent again. The SYN is at ``iss``, before the queue; the FIN at
``end``, once the owner has closed. There is no congestion window: the link is memory. The peer's window holds.

Loss is repaired in three ways:
- Three duplicate ACKs (RFC 5681, 3.2): the first segment is sent again, or, when the peer has said what it got
  (RFC 2018), each hole before that. A partial ACK shows the next loss (RFC 6582, 3.2).
- A timeout (RFC 6298, 5.4): one segment is sent again, whatever the window is; the next ACK shows how to go on.
  A closed window is probed in the same way (RFC 9293, 3.8.6.1).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from asyncemu.memory.buffers import Buffers
from asyncemu.net.tcp.byte_queue import ByteQueue

#: RFC 5681, 3.2.
DUPLICATES: Final = 3
#: Ranges of the peer's selective acknowledgments that are remembered.
MAX_RANGES: Final = 64


class Run(NamedTuple):
    """What the next segment carries."""

    start: int
    length: int
    fin: bool


class Sender:
    """Sequence numbers are unwrapped."""

    __slots__ = (
        "_base",
        "_hole",
        "_hole_end",
        "_recover",
        "_sacked",
        "_timed",
        "_timed_at",
        "_waiting",
        "closing",
        "duplicates",
        "edge",
        "end",
        "force",
        "iss",
        "max",
        "max_window",
        "mss",
        "next",
        "queue",
        "una",
        "window_ack",
        "window_sequence",
    )

    def __init__(self, iss: int, capacity: int) -> None:
        self.iss = self.una = self.next = self.max = iss
        self.queue = ByteQueue(capacity)
        #: The number of the queue's first byte.
        self._base = iss + 1
        #: The number after the last byte: that of the FIN. It grows with what the owner puts into the queue.
        self.end = iss + 1
        #: A FIN follows the data.
        self.closing = False
        #: Payload of a full segment.
        self.mss = 0
        #: SND.UNA + SND.WND, and what was the latest word on it: SND.WL1, SND.WL2.
        self.edge = iss
        self.window_sequence = 0
        self.window_ack = iss
        self.max_window = 0
        self.duplicates = 0
        #: A timeout: send one segment now.
        self.force = False
        #: One was sent, and nothing more is before an ACK makes progress.
        self._waiting = False
        #: Fast recovery, up to this number; what of it is to be sent again.
        self._recover: int | None = None
        self._hole = self._hole_end = iss
        #: What the peer has out of order, sorted.
        self._sacked: list[tuple[int, int]] = []
        #: The end of a segment whose round trip is measured, and when it was sent.
        self._timed: int | None = None
        self._timed_at = 0

    @property
    def outstanding(self) -> bool:
        """Does something wait for its ACK?"""
        return self.una < self.max

    @property
    def acceptable(self) -> int:
        """The number of a segment without data that the peer will not reject.

        SND.NXT (RFC 9293, 3.10.7.4), where what was sent before a timeout counts as sent, but a probe of a closed
        window does not.
        """
        return max(self.una, min(self.max, self.edge))

    @property
    def fin_acknowledged(self) -> bool:
        """Has the peer got everything, and the FIN?"""
        return self.closing and self.una > self.end

    @property
    def is_idle(self) -> bool:
        """Was all sent, and is nothing to be sent again?"""
        return self.next == self.end + self.closing and self._recover is None and not self.force

    @property
    def pending(self) -> bool:
        """Is there something that was not sent yet, or is to be sent again?"""
        return self.next < self.end + self.closing

    # ---- what the peer says

    def acknowledge(self, ack: int, now: int) -> int | None:
        """``ack`` is between SND.UNA and ``max``: the round trip in ns, if it was measured (RFC 6298, 3)."""
        taken = (ack if ack < self.end else self.end) - self._base
        if taken > 0:
            self.queue.drop(taken)
            self._base += taken
        self.una = ack
        if ack > self.next:
            self.next = ack
        self.duplicates = 0
        self._waiting = self.force = False
        if self._sacked:
            self._sacked = [ranges for ranges in self._sacked if ranges[1] > ack]
        if self._recover is not None:
            if ack >= self._recover:
                self._end_recovery()
            else:
                self._find_holes(partial=True)
        if self._timed is None or ack < self._timed:
            return None
        self._timed = None
        return now - self._timed_at

    def duplicate(self) -> None:
        """The peer has sent the same ACK again."""
        self.duplicates += 1
        if self._recover is not None:
            self._find_holes(partial=False)
        elif self.duplicates >= DUPLICATES and self.una < self.edge:
            self._recover = self.max
            self._timed = None
            self._hole = self.una
            self._find_holes(partial=False)

    def selectively_acknowledged(self, ranges: list[tuple[int, int]]) -> bool:
        """The peer has these ranges out of order; true when that is news. Ranges that make no sense are left out."""
        news = False
        for start, end in ranges:
            if not self.una < start < end <= self.max or (start, end) in self._sacked:
                continue
            touching = [each for each in self._sacked if each[0] <= end and start <= each[1]]
            if len(touching) == 1 and touching[0][0] <= start and end <= touching[0][1]:
                continue
            news = True
            merged = (
                (min(start, *(each[0] for each in touching)), max(end, *(each[1] for each in touching)))
                if touching
                else (start, end)
            )
            self._sacked = sorted([each for each in self._sacked if each not in touching] + [merged])[:MAX_RANGES]
        return news

    def window(self, sequence: int, ack: int, window: int) -> None:
        """The peer's window in a segment that is acceptable. RFC 9293, 3.10.7.4: "SND.WND should be updated"."""
        if self.window_sequence < sequence or (self.window_sequence == sequence and self.window_ack <= ack):
            edge = ack + window
            if edge > self.edge:
                self._waiting = False
            self.edge = edge
            self.window_sequence = sequence
            self.window_ack = ack
            if window > self.max_window:
                self.max_window = window

    def _find_holes(self, partial: bool) -> None:
        if self._sacked:
            self._hole = max(self._hole, self.una)
            self._hole_end = self._sacked[-1][0]
        elif partial or self._hole == self.una:
            self._hole = self.una
            self._hole_end = self.una + self.mss

    def _end_recovery(self) -> None:
        self._recover = None
        self._hole = self._hole_end = self.una

    def timeout(self) -> None:
        """Nothing came for too long: all that is not acknowledged may be lost."""
        self._end_recovery()
        # RFC 2018, 8: the peer may have dropped what it said it had.
        self._sacked.clear()
        self._timed = None
        self.next = self.una
        self.force = True

    # ---- what goes out

    def next_run(self, limit: int) -> Run | None:
        """What the next segment carries, of ``limit`` bytes at most; None when nothing may be sent now."""
        end = self.end
        stop = end + self.closing
        start = self.next
        if start == self.max and stop <= self.edge and self._recover is None and not self.force and not self._waiting:
            # The usual case: nothing was lost, and the window is wide open.
            if start == stop:
                return None
            if stop - start <= limit:
                return tuple.__new__(Run, (start, end - start, stop > end))
        if self.force:
            # RFC 9293, 3.8.6.1: a byte beyond the window, so that the peer says when it opens.
            start = self.una
            return self._run(start, min(stop, max(self.edge, start + 1)), min(limit, self.mss), end)
        if self._waiting:
            return None
        if self._hole < self._hole_end:
            hole = self._next_hole(end + self.closing)
            if hole is not None:
                return self._run(hole[0], hole[1], limit, end)
        sacked_start = 0
        if self._sacked and start < self.max:
            start, sacked_start = self._skip_sacked(start)
        stop = min(stop, self.edge)
        if sacked_start and sacked_start < stop:
            stop = sacked_start
        elif stop < end + self.closing and stop - start < self.mss and 2 * (stop - start) < self.max_window:
            # RFC 1122, 4.2.3.4: neither all that waits, nor a full segment, nor half of the window.
            return None
        if start >= stop:
            return None
        return self._run(start, stop, limit, end)

    def _run(self, start: int, stop: int, limit: int, end: int) -> Run | None:
        length = min(stop, end) - start
        mss = self.mss
        if length > limit:
            # Full segments only, when there is more.
            return Run(start, limit - limit % mss or limit, False)
        if length > mss and stop < end:
            return Run(start, length - length % mss, False)
        fin = stop > end
        return Run(start, length, fin) if length or fin else None

    def _skip_sacked(self, start: int) -> tuple[int, int]:
        """The first number from ``start`` on that the peer has not; and where the next one is that it has, or 0."""
        for left, right in self._sacked:
            if start < left:
                return start, left
            if start < right:
                start = right
        return start, 0

    def _next_hole(self, stop: int) -> tuple[int, int] | None:
        start, sacked_start = self._skip_sacked(self._hole)
        stop = min(self._hole_end, sacked_start or stop, stop, self.edge, self.max)
        if start < stop:
            return start, stop
        self._hole = self._hole_end
        return None

    def syn_sent(self, now: int) -> None:
        """The SYN is on its way, for the first time or again."""
        # Karn: the round trip of what was sent twice is not known. RFC 6298, 3.
        self._timed = self.iss + 1 if self.max == self.iss else None
        self._timed_at = now
        self.next = self.max = self.iss + 1

    def sent(self, run: Run, now: int) -> None:
        """The segment is on its way."""
        start = run.start
        after = start + run.length + run.fin
        if self._hole <= start < self._hole_end:
            self._hole = after
        if self.force:
            self.force = False
            self._waiting = True
        elif start < self.next:
            return
        elif self._timed is None and start >= self.max:
            self._timed = after
            self._timed_at = now
        # A probe of a closed window counts as sent, but the next one begins with the same byte.
        if after > self.max:
            self.max = after
        if self.next < after <= self.edge:
            self.next = after

    def data(self, run: Run) -> Buffers:
        """Views of what a run carries."""
        return self.queue.slice(run.start - self._base, run.length)

    def clear(self) -> None:
        """Forget all data."""
        self.queue.clear()
        self._sacked.clear()
        self.closing = True
