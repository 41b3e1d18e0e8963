# SPDX-License-Identifier: GPL-2.0-or-later
"""Transmitter: frames out of one transmit queue to the peer (virtio 1.2, 5.1.6.2).

Nothing is copied but the header. A frame that the peer does not take keeps its chain here, and the chains behind it
stay in the ring: the guest runs out of buffers, which is how it learns that the network is slow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncemu.errors import GuestError
from asyncemu.net import Frame, Frames
from asyncemu.net.frame import ETHERNET_HEADER, MAX_FRAME
from asyncemu.virtio.chain import Chain
from asyncemu.virtio.net.header import HEADER_LENGTH, parse_header
from asyncemu.virtio.runner import BufferQueue

#: Frames handed over in one go; the rest of the loop gets its turn in between.
BATCH: Final = 64

_NO_HEADER: Final = bytes(10)
_EMPTY: Final = memoryview(b"")


class Transmitter:
    """Home: the queue's. ``send`` is the port's; ``failed`` is told what the driver, or we, did wrong."""

    def __init__(
        self, queue: BufferQueue, send: Callable[[Frames], int], failed: Callable[[BaseException], None]
    ) -> None:
        self.queue = queue
        #: What the driver accepted.
        self.negotiated = 0
        #: Frames that were not what they should be.
        self.dropped = 0
        self._send = send
        self._failed = failed
        # Chains that the peer has not taken, the last that were popped; None: its frame is one to be dropped.
        self._held: list[Chain] = []
        self._held_frames: list[Frame | None] = []
        queue.on_available = self.serve
        queue.on_release = self.release

    def serve(self) -> None:
        """Hand over what the driver has made available, unless the peer is full."""
        if self._held:
            return
        chains = self.queue.pop_batch(BATCH)
        if not chains:
            return
        try:
            self._hand_over(chains, [self._frame(chain) for chain in chains])
        except Exception as error:
            # A GuestError, or a bug of a back end: the card is broken then, and says so.
            self._failed(error)
            return
        if len(chains) == BATCH and not self._held:
            self.queue.notify()

    def writable(self) -> None:
        """The peer takes frames again."""
        if self._held:
            chains, frames = self._held, self._held_frames
            self._held, self._held_frames = [], []
            try:
                self._hand_over(chains, frames)
            except Exception as error:
                self._failed(error)
                return
        self.serve()

    def release(self) -> None:
        """Put back what is held: the queue stands still, or is no longer ours."""
        self.queue.unpop(self._held)
        self._held, self._held_frames = [], []

    def _frame(self, chain: Chain) -> Frame | None:
        """The frame in a chain; None: it is to be dropped."""
        chain.written = 0
        data = chain.readable
        first = data[0] if data else _EMPTY
        if len(first) > HEADER_LENGTH:
            header = first[:HEADER_LENGTH].tobytes()
            data[0] = first[HEADER_LENGTH:]
        else:
            try:
                header = data.take(HEADER_LENGTH)
            except ValueError:
                # As in QEMU: who can't write a header can't have meant anything.
                raise GuestError(f"a frame of {data.nbytes} bytes with its header") from None
        length = len(data[0]) if len(data) == 1 else data.nbytes
        if ETHERNET_HEADER <= length <= MAX_FRAME:
            if header.startswith(_NO_HEADER):
                return Frame(data)
            vnet = parse_header(header, length, self.negotiated)
            if vnet is not None:
                return Frame(data, vnet)
        self.dropped += 1
        return None

    def _hand_over(self, chains: list[Chain], frames: list[Frame | None]) -> None:
        """Send ``frames``, give back the chains of those that were taken, and hold the others."""
        good = [frame for frame in frames if frame is not None]
        taken = self._send(good) if good else 0
        if taken == len(good):
            self.queue.give_back_all(chains)
            return
        # Up to the first frame that was not taken.
        done = frames.index(good[taken])
        # While the frames were under way the queue may have been stopped, and then nothing is to be held.
        if self.queue.queue is not None:
            self._held, self._held_frames = chains[done:], frames[done:]
        self.queue.give_back_all(chains[:done])
