# SPDX-License-Identifier: GPL-2.0-or-later
"""SplitQueue: the device's side of a split virtqueue (virtio 1.2, 2.7). No I/O, no clock, no threads.

    descriptor table   16 bytes each: address u64, length u32, flags u16, next u16          written by the driver
    available ring     flags u16, idx u16, ring[size] u16, used_event u16                   written by the driver
    used ring          flags u16, idx u16, ring[size] of (id u32, length u32), avail_event  written by us

What a guest may do to us: anything, at any time. So every value is read once into a Python int and checked there; every
area is a view whose bounds were checked when the queue was made; every walk has a bound.

Indices are read and written through views cast to native u16 and u32: one machine access each, which a little-endian
guest can't see half of (``struct`` with "<" goes byte by byte). Hosts are little-endian, as Unicorn's wheels are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from asyncemu.errors import GuestError
from asyncemu.memory import AddressSpace, Buffers, full_barrier
from asyncemu.virtio.chain import Chain
from asyncemu.virtio.defs import (
    AVAIL_NO_INTERRUPT,
    DESC_INDIRECT,
    DESC_NEXT,
    DESC_WRITE,
    MAX_CHAIN_BYTES,
    MAX_QUEUE_SIZE,
    USED_NO_NOTIFY,
)

#: Descriptors of one chain, indirect ones included. 2.7.5.3.1 bounds it by the queue size, which Linux does not keep to
#: with indirect tables; QEMU takes 1024, which is also what one preadv takes.
MAX_CHAIN: Final = 1024

_descriptor: Final = struct.Struct("<QIHH")
#: Of a descriptor that is not all of its chain.
_MORE: Final = DESC_NEXT | DESC_INDIRECT


class SplitQueue:
    """``size`` entries at three physical addresses. Raises GuestError when they are not as 2.7 wants them."""

    def __init__(
        self,
        memory: AddressSpace,
        size: int,
        descriptors: int,
        available: int,
        used: int,
        *,
        event_index: bool = False,
        indirect: bool = False,
    ) -> None:
        if not 0 < size <= MAX_QUEUE_SIZE or size & (size - 1):
            raise GuestError(f"queue size {size} is not a power of two up to {MAX_QUEUE_SIZE}")
        # 2.7, table of alignments.
        if descriptors % 16 or available % 2 or used % 4:
            raise GuestError(f"queue areas at {descriptors:#x}, {available:#x}, {used:#x} are not aligned")
        self.memory = memory
        self.size = size
        self.event_index = event_index
        self.indirect = indirect
        self._mask = size - 1
        self._table = memory.view(descriptors, 16 * size)
        # 2.7.6 and 2.7.8: the event fields at the ends are there whether the feature is negotiated or not.
        self._available = memory.view(available, 6 + 2 * size).cast("H")
        used_area = memory.view(used, 6 + 8 * size)
        self._used_index = used_area[:4].cast("H")
        self._used_ring = used_area[4 : 4 + 8 * size].cast("I")
        self._avail_event = used_area[4 + 8 * size :].cast("H")
        self._used_event = 2 + size
        #: Index of the next available entry to take, and of the next used entry to write: mod 2**16.
        self.next_available = 0
        self.next_used = 0
        # What the driver has been shown: the used index in its memory is its to scribble on, this is not.
        self.published = 0

    # ---- from the driver

    def pending(self) -> int:
        """How many chains can be popped. GuestError when the driver's index ran more than a queue ahead."""
        count = (self._available[1] - self.next_available) & 0xFFFF
        if count > self.size:
            raise self._too_far_ahead(count)
        return count

    def _too_far_ahead(self, count: int) -> GuestError:
        index = (self.next_available + count) & 0xFFFF
        return GuestError(f"available index {index} is {count} ahead in a queue of {self.size}")

    def has_available(self) -> bool:
        """Has the driver made anything available that was not popped? Memory only: for polling."""
        return self._available[1] != self.next_available

    def pop(self) -> Chain | None:
        """The next available chain, or None. Raises GuestError."""
        count = (self._available[1] - self.next_available) & 0xFFFF
        if not count:
            return None
        if count > self.size:
            raise self._too_far_ahead(count)
        if (self.next_available - self.next_used) & 0xFFFF >= self.size:
            # Each buffer holds a descriptor until it is used, so there are never more: this bounds what is in flight.
            raise GuestError(f"more than {self.size} buffers in a queue of {self.size}")
        head = self._available[2 + (self.next_available & self._mask)]
        chain = self._walk(head)
        self.next_available = (self.next_available + 1) & 0xFFFF
        return chain

    def pop_batch(self, limit: int) -> list[Chain]:
        """The next available chains, ``limit`` at most; raises GuestError, and has taken none then.

        Shorter than ``limit`` times ``pop`` where a chain is one descriptor, as a network card's mostly are.
        """
        start, size = self.next_available, self.size
        count = (self._available[1] - start) & 0xFFFF
        if not count or limit <= 0:
            return []
        if count > size:
            raise self._too_far_ahead(count)
        count = min(count, limit)
        if ((start - self.next_used) & 0xFFFF) + count > size:
            raise GuestError(f"more than {size} buffers in a queue of {size}")
        first = 2 + (start & self._mask)
        heads = self._available[first : min(first + count, 2 + size)].tolist()
        heads += self._available[2 : 2 + count - len(heads)].tolist()
        table, memory_view, unpack = self._table, self.memory.view, _descriptor.unpack_from
        chains = []
        for head in heads:
            if head < size:
                address, length, flags, _ = unpack(table, 16 * head)
                if not flags & _MORE and 0 < length < MAX_CHAIN_BYTES:
                    view = memory_view(address, length)
                    if flags & DESC_WRITE:
                        chains.append(Chain(head, Buffers(), Buffers((view,)), [(address, length)]))
                    else:
                        chains.append(Chain(head, Buffers((view,)), Buffers(), []))
                    continue
            chains.append(self._walk(head))
        self.next_available = (start + count) & 0xFFFF
        return chains

    def unpop(self, count: int) -> None:
        """Put the last ``count`` chains that were popped back, none of which was pushed: ``pop`` finds them again.
        ValueError when there are not so many. QEMU: virtqueue_rewind."""
        if not 0 <= count <= (self.next_available - self.next_used) & 0xFFFF:
            raise ValueError(f"{count} chains to be put back, more than were popped")
        self.next_available = (self.next_available - count) & 0xFFFF

    def reread(self, head: int) -> Chain:
        """A chain that was popped and not pushed, once more from its beginning. Raises GuestError."""
        return self._walk(head)

    def _walk(self, head: int) -> Chain:
        memory_view = self.memory.view
        readable = Buffers()
        writable = Buffers()
        spans: list[tuple[int, int]] = []
        table, entries = self._table, self.size
        index = head
        inside_indirect = False
        total = 0
        for _ in range(MAX_CHAIN):
            if index >= entries:
                raise GuestError(f"descriptor {index} in a table of {entries}")
            address, length, flags, following = _descriptor.unpack_from(table, 16 * index)
            if flags & DESC_INDIRECT:
                # 2.7.5.3.1: only if negotiated, not within another, and last in its chain.
                if not self.indirect or inside_indirect or flags & DESC_NEXT:
                    raise GuestError(f"descriptor {index} is indirect where it may not be")
                if not length or length % 16:
                    raise GuestError(f"an indirect table of {length} bytes")
                table, entries, index = memory_view(address, length), length // 16, 0
                inside_indirect = True
                continue
            if not length:
                raise GuestError(f"descriptor {index} has no length")
            total += length
            if total >= MAX_CHAIN_BYTES:
                raise GuestError(f"a chain of {total} bytes or more")
            view = memory_view(address, length)
            if flags & DESC_WRITE:
                writable.append(view)
                spans.append((address, length))
            elif writable:
                # 2.7.4.2: all readable ones come first.
                raise GuestError(f"descriptor {index} is readable behind a writable one")
            else:
                readable.append(view)
            if not flags & DESC_NEXT:
                return Chain(head, readable, writable, spans)
            index = following
        raise GuestError(f"a chain of more than {MAX_CHAIN} descriptors, or a loop")

    # ---- to the driver

    def push(self, chain: Chain) -> None:
        """Give a chain back. The driver sees it after ``publish``."""
        self.push_all((chain,))

    def push_all(self, chains: Iterable[Chain]) -> None:
        """``push`` for several. Who listens to writes hears of neighbours in memory, as buffers of a page are, once."""
        ring, mask = self._used_ring, self._mask
        # [start, end) was written and not told of.
        start = end = 0
        for chain in chains:
            limit = MAX_CHAIN_BYTES if chain.written is None else chain.written
            written = 0
            for address, length in chain.spans:
                if written >= limit:
                    break
                if address != end:
                    if start != end:
                        self.memory.written(start, end - start)
                    start = end = address
                part = min(length, limit - written)
                end += part
                written += part
            slot = 2 * (self.next_used & mask)
            ring[slot] = chain.head
            ring[slot + 1] = written
            self.next_used = (self.next_used + 1) & 0xFFFF
        if start != end:
            self.memory.written(start, end - start)

    def publish(self) -> bool:
        """Show the driver all that was pushed; True when it wants an interrupt for it."""
        old, new = self.published, self.next_used
        if old == new:
            return False
        # x86 does not reorder stores with stores: the ring entries are visible before the index.
        self._used_index[1] = self.published = new
        full_barrier()
        if not self.event_index:
            return not self._available[0] & AVAIL_NO_INTERRUPT
        # 2.7.7.2: is the entry that used_event names among those just shown?
        return (new - self._available[self._used_event] - 1) & 0xFFFF < (new - old) & 0xFFFF

    def suppress_notifications(self) -> None:
        """We are looking at the ring: the driver need not ring. 2.7.10."""
        if not self.event_index:
            self._used_index[0] = USED_NO_NOTIFY

    def enable_notifications(self) -> bool:
        """Ask to be rung again; True when something came in between: look once more before going away."""
        if self.event_index:
            self._avail_event[0] = self.next_available
        else:
            self._used_index[0] = 0
        # The driver publishes its index, then looks at ours; we publish ours, then look at the driver's (2.7.10.1).
        full_barrier()
        return self._available[1] != self.next_available
