# SPDX-License-Identifier: GPL-2.0-or-later
"""Receiver: frames from the peer into one receive queue (virtio 1.2, 5.1.6.3 and 5.1.6.4).

With MRG_RXBUF a frame has as many buffers as it needs; without, it has one, and is dropped when that is too small. A
frame for which there is no room stays with the peer. Chains of which nothing was used go back to the ring.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from asyncemu.errors import GuestError
from asyncemu.memory import Buffers
from asyncemu.net import PLAIN, Fill, Frame, Frames
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.packets.offload import finish
from asyncemu.virtio.chain import Chain
from asyncemu.virtio.net.features import MRG_RXBUF
from asyncemu.virtio.net.header import HEADER_LENGTH, is_taken, pack_header
from asyncemu.virtio.net.receive_filter import HEAD, ReceiveFilter
from asyncemu.virtio.runner import BufferQueue

#: An Ethernet frame's payload, where the driver has not said how much it takes. Bytes.
DEFAULT_MTU: Final = 1500
#: As large as Linux makes mergeable buffers.
_PAGE: Final = 4096


class Receiver:
    """Home: the queue's. ``negotiated``, ``offloads``, ``mtu`` and ``filter`` are set by the device, at any time."""

    def __init__(self, queue: BufferQueue, filter: ReceiveFilter) -> None:
        self.queue = queue
        self.filter = filter
        #: What the driver accepted, and which frames it takes unfinished now (GUEST_* bits).
        self.negotiated = 0
        self.offloads = 0
        self.mtu = DEFAULT_MTU
        #: Does the driver use this pair?
        self.active = False
        #: Frames that the guest got, those that it did not want, and those that did not fit or were malformed.
        self.received = 0
        self.filtered = 0
        self.dropped = 0
        #: Of the buffer that was looked at last; the guess before there was one.
        self._usual_room = _PAGE
        #: Copies of frames that were taken and have found no room yet.
        self._late: deque[Frame] = deque()

    def receive(self, frames: Frames) -> int:
        """How many of ``frames`` were taken."""
        if not self.active or self.queue.queue is None or (self._late and not self.deliver_late()):
            return 0
        used: list[Chain] = []
        taken = 0
        promiscuous = self.filter.promiscuous
        for frame in frames:
            if not promiscuous and not self.filter.accepts(frame.head(HEAD)):
                self.filtered += 1
            elif frame.vnet is not PLAIN and not is_taken(frame.vnet, self.offloads):
                self._finish_and_place(frame, used)
            elif not self._place(frame, used):
                break
            taken += 1
        if used:
            self.queue.give_back_all(used)
        return taken

    def receive_into(self, capacity: int, fill: Fill) -> bool:
        """See NetPort."""
        if not self.active or self.queue.queue is None or (self._late and not self.deliver_late()):
            return False
        chains, rooms = self._gather(HEADER_LENGTH + capacity)
        if not chains:
            return False
        room = sum(rooms)
        if room < HEADER_LENGTH + capacity:
            # It may be a small frame: it is written elsewhere, and is late if it is not.
            self.queue.unpop(chains)
            self._by_copy(capacity, fill)
            return True
        first = chains[0].writable[0]
        if len(chains) == 1 and len(first) == room:
            header, body = Buffers((first[:HEADER_LENGTH],)), Buffers((first[HEADER_LENGTH:],))
        else:
            header, body = Buffers([view for chain in chains for view in chain.writable]).split(HEADER_LENGTH)
        try:
            filled = fill(body)
        except BaseException:
            self.queue.unpop(chains)
            raise
        if filled is None:
            self.queue.unpop(chains)
            return True
        length, vnet = filled
        if not self.filter.promiscuous and not self.filter.accepts(b"".join(body.head(HEAD, HEAD))):
            self.filtered += 1
            self.queue.unpop(chains)
        elif vnet is not PLAIN and not is_taken(vnet, self.offloads):
            frame = Frame.of(body.split(length)[0].tobytes(), vnet=vnet)
            self.queue.unpop(chains)
            self._take(frame)
        else:
            used = _fill_chains(chains, rooms, HEADER_LENGTH + length)
            header.write(pack_header(vnet, used))
            self.received += 1
            if used < len(chains):
                self.queue.unpop(chains[used:])
                chains = chains[:used]
            self.queue.give_back_all(chains)
        return True

    def deliver_late(self) -> bool:
        """Place what is late, in its order; True when nothing is any more."""
        used: list[Chain] = []
        while self._late and self._place(self._late[0], used):
            self._late.popleft()
        self.queue.give_back_all(used)
        return not self._late

    def forget(self) -> None:
        """The driver is gone, and with it who the late frames were for."""
        self._late.clear()

    # ---- inside

    def _by_copy(self, capacity: int, fill: Fill) -> None:
        view = memoryview(bytearray(capacity))
        filled = fill(Buffers((view,)))
        if filled is not None:
            self._take(Frame(Buffers((view[: filled.length],)), filled.vnet))

    def _take(self, frame: Frame) -> None:
        """Take a frame in memory of its own, whether there is room for it now or not."""
        if not self.receive((frame,)):
            self._late.append(frame)

    def _finish_and_place(self, frame: Frame, used: list[Chain]) -> None:
        """For a driver that takes no such frames: what it stands for, which may be several."""
        try:
            for each in finish(frame, self.mtu):
                if self._late or not self._place(each, used):
                    self._late.append(each.copy())
        except Malformed:
            self.dropped += 1

    def _place(self, frame: Frame, used: list[Chain]) -> bool:
        """Copy a frame into chains, which are added to ``used``; False: there is no room."""
        sources = frame.buffers
        needed = HEADER_LENGTH + (len(sources[0]) if len(sources) == 1 else frame.nbytes)
        chain = self.queue.pop()
        if chain is None:
            return False
        writable = chain.writable
        if len(writable) == 1 and len(view := writable[0]) >= needed:
            # The usual case of a small frame.
            view[:HEADER_LENGTH] = pack_header(frame.vnet, 1)
            end = HEADER_LENGTH
            for source in sources:
                start, end = end, end + len(source)
                view[start:end] = source
            chain.written = needed
            used.append(chain)
            self.received += 1
            return True
        self.queue.unpop((chain,))
        return self._place_in_several(frame, needed, used)

    def _place_in_several(self, frame: Frame, needed: int, used: list[Chain]) -> bool:
        chains, rooms = self._gather(needed)
        if not chains:
            return False
        if sum(rooms) < needed:
            queue = self.queue.queue
            self.queue.unpop(chains)
            if self.negotiated & MRG_RXBUF and queue is not None and len(chains) < queue.size:
                return False
            # As QEMU does where buffers can't be merged. Nor can they when the whole ring is too small.
            self.dropped += 1
            return True
        count = _fill_chains(chains, rooms, needed)
        if count < len(chains):
            self.queue.unpop(chains[count:])
            chains = chains[:count]
        targets = [view for chain in chains for view in chain.writable]
        _scatter(targets, [memoryview(pack_header(frame.vnet, len(chains))), *frame.buffers])
        used += chains
        self.received += 1
        return True

    def _gather(self, needed: int) -> tuple[list[Chain], list[int]]:
        """Pop until there is room for ``needed`` bytes, or no more chains: the chains, and the room of each.

        The last ones may not be needed: how large buffers are is a guess by what the last frame got.
        """
        queue = self.queue
        mergeable = self.negotiated & MRG_RXBUF
        chains: list[Chain] = []
        rooms: list[int] = []
        missing = needed
        while missing > 0 and (popped := queue.pop_batch(-(-missing // self._usual_room) if mergeable else 1)):
            chains += popped
            more = [len(chain.writable[0]) if len(chain.writable) == 1 else chain.capacity for chain in popped]
            if min(more) < HEADER_LENGTH:
                # 5.1.6.3.1.
                queue.fail(GuestError(f"a receive buffer of {min(more)} bytes"))
                return [], []
            rooms += more
            missing -= sum(more)
            if not mergeable:
                break
            self._usual_room = more[-1]
        return chains, rooms


def _fill_chains(chains: Sequence[Chain], rooms: Sequence[int], length: int) -> int:
    """Say of each how many of ``length`` bytes it has; how many chains that takes."""
    for number, (chain, room) in enumerate(zip(chains, rooms, strict=True), 1):
        if length <= room:
            chain.written = length
            return number
        chain.written = room
        length -= room
    return len(chains)


def _scatter(targets: Sequence[memoryview], sources: Sequence[memoryview]) -> None:
    """Copy all bytes of ``sources`` to the start of ``targets``, which have room for them."""
    remaining = iter(targets)
    target = next(remaining)
    for source in sources:
        done, length = 0, len(source)
        while length - done > (room := len(target)):
            target[:] = source[done : done + room]
            done += room
            target = next(remaining)
        target[: length - done] = source[done:]
        target = target[length - done :]
