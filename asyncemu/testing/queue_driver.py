# SPDX-License-Identifier: GPL-2.0-or-later
"""QueueDriver: the driver's half of a split virtqueue (virtio 1.2, 2.7), well-behaved or hostile.

    queue = QueueDriver(memory, GuestAllocator(base, length), 8)
    buffer = queue.add([b"question"], [64])
    must_ring = queue.publish()
    ...                                      # the device is at work
    queue.collect()
    assert buffer.answer == b"reply"

The areas and buffers come from a GuestAllocator, and go back there when they are used. What a hostile driver does is
done by the raw methods: ``write_descriptor``, ``offer``, ``set_available_index``, and writing to the areas' addresses.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asyncemu.memory import AddressSpace
from asyncemu.virtio.defs import AVAIL_NO_INTERRUPT, DESC_INDIRECT, DESC_NEXT, DESC_WRITE, USED_NO_NOTIFY

_descriptor: Final = struct.Struct("<QIHH")
_used_entry: Final = struct.Struct("<II")


class GuestAllocator:
    """Hands out guest memory from [base, base + length), 16-byte aligned."""

    def __init__(self, base: int, length: int) -> None:
        self._next = base
        self._end = base + length
        self._free: dict[int, list[int]] = defaultdict(list)

    def allocate(self, length: int) -> int:
        """The address of ``length`` bytes. MemoryError when there is no more."""
        rounded = -(-max(length, 1) // 16) * 16
        if self._free[rounded]:
            return self._free[rounded].pop()
        if self._next + rounded > self._end:
            raise MemoryError(f"{length} bytes of guest memory")
        address, self._next = self._next, self._next + rounded
        return address

    def free(self, address: int, length: int) -> None:
        """Take ``length`` bytes back."""
        self._free[-(-max(length, 1) // 16) * 16].append(address)


@dataclass(eq=False, slots=True)
class GuestBuffer:
    """One descriptor chain on its way: the token that ``add`` returns."""

    head: int
    #: (address, length) of each part, the device-readable ones first.
    readable: list[tuple[int, int]]
    writable: list[tuple[int, int]]
    #: (address, length) of the indirect table; length 0: there is none.
    table: tuple[int, int]
    #: Numbers of the ring's descriptors that it holds.
    descriptors: list[int]
    #: The used entry's length: bytes that the device says it has written. None until it is used.
    written: int | None = None
    #: The first ``written`` bytes of the writable parts; empty until it is used.
    answer: bytes = b""

    @property
    def done(self) -> bool:
        """Has the device given it back?"""
        return self.written is not None


class QueueDriver:
    """A virtqueue of ``size`` entries in guest memory. Any thread, one at a time."""

    def __init__(
        self, memory: AddressSpace, allocator: GuestAllocator, size: int, *, event_index: bool = False
    ) -> None:
        self.memory = memory
        self.allocator = allocator
        self.size = size
        self.event_index = event_index
        #: Physical addresses of the three areas.
        self.descriptors = allocator.allocate(16 * size)
        self.available = allocator.allocate(6 + 2 * size)
        self.used = allocator.allocate(6 + 8 * size)
        for address, length in (
            (self.descriptors, 16 * size),
            (self.available, 6 + 2 * size),
            (self.used, 6 + 8 * size),
        ):
            memory.write(address, bytes(length))
        #: Buffers that the device has not given back, by their heads.
        self.outstanding: dict[int, GuestBuffer] = {}
        self.next_available = 0
        self.next_used = 0
        self._published = 0
        self._free = list(range(size - 1, -1, -1))

    # ---- the well-behaved driver

    def add(self, readable: Sequence[bytes], writable: Sequence[int], *, indirect: bool = False) -> GuestBuffer:
        """Place a buffer: what the device reads, and lengths of what it may write. It is shown by ``publish``.

        IndexError when the descriptors do not suffice.
        """
        if (1 if indirect else len(readable) + len(writable)) > len(self._free):
            raise IndexError(f"{len(self._free)} descriptors are left")
        sources = [(self._allocate(data), len(data)) for data in readable]
        targets = [(self.allocator.allocate(length), length) for length in writable]
        parts = [(*part, 0) for part in sources] + [(*part, DESC_WRITE) for part in targets]
        numbers = list(range(len(parts))) if indirect else [self._free.pop() for _ in parts]
        entries = [
            _descriptor.pack(address, length, flags | (DESC_NEXT if following is not None else 0), following or 0)
            for (address, length, flags), following in zip(parts, [*numbers[1:], None], strict=True)
        ]
        table = (0, 0)
        if indirect:
            data = b"".join(entries)
            table = (self._allocate(data), len(data))
            numbers = [self._free.pop()]
            entries = [_descriptor.pack(*table, DESC_INDIRECT, 0)]
        for number, entry in zip(numbers, entries, strict=True):
            self.memory.write(self.descriptors + 16 * number, entry)
        buffer = GuestBuffer(numbers[0], sources, targets, table, numbers)
        self.outstanding[buffer.head] = buffer
        self._place(buffer.head)
        return buffer

    def publish(self) -> bool:
        """Show the device all that was added; True when it wants to be rung for that (2.7.10)."""
        old, new = self._published, self.next_available
        self.set_available_index(new)
        if old == new:
            return False
        if not self.event_index:
            return not self.used_flags & USED_NO_NOTIFY
        return (new - self.avail_event - 1) & 0xFFFF < (new - old) & 0xFFFF

    def collect(self) -> list[GuestBuffer]:
        """What the device has given back since the last time, in its order. Asks to be told of the next."""
        collected = []
        while self.next_used != self.used_index:
            head, written = _used_entry.unpack(
                self.memory.read(self.used + 4 + 8 * (self.next_used % self.size), _used_entry.size)
            )
            self.next_used = (self.next_used + 1) & 0xFFFF
            collected.append(self._take_back(head, written))
        if self.event_index:
            self.set_used_event(self.next_used)
        return collected

    def set_interrupts(self, wanted: bool) -> None:
        """Ask the device not to interrupt, or to do so again (2.7.7; without event index)."""
        self._write16(self.available, 0 if wanted else AVAIL_NO_INTERRUPT)

    # ---- the fields, for tests of either kind

    @property
    def used_index(self) -> int:
        """How many buffers the device has given back, modulo 65536."""
        return self._read16(self.used + 2)

    @property
    def used_flags(self) -> int:
        """USED_NO_NOTIFY or 0."""
        return self._read16(self.used)

    @property
    def avail_event(self) -> int:
        """The available index behind which the device wants to be rung, with event index."""
        return self._read16(self.used + 4 + 8 * self.size)

    def set_used_event(self, index: int) -> None:
        """Ask for an interrupt when the used entry ``index`` is written, with event index."""
        self._write16(self.available + 4 + 2 * self.size, index)

    def start_at(self, index: int) -> None:
        """Let both rings begin at ``index`` rather than 0, as after that many buffers: for wrap-around tests."""
        self.next_available = self.next_used = self._published = index
        self._write16(self.available + 2, index)
        self._write16(self.used + 2, index)

    # ---- the hostile driver

    def write_descriptor(self, number: int, address: int, length: int, flags: int = 0, following: int = 0) -> None:
        """Write any descriptor."""
        self.memory.write(self.descriptors + 16 * number, _descriptor.pack(address, length, flags, following))

    def offer(self, head: int) -> None:
        """Make any descriptor number available, and publish it."""
        self._place(head)
        self.publish()

    def set_available_index(self, index: int) -> None:
        """Write any available index."""
        self._write16(self.available + 2, index)
        self._published = index

    # ---- inside

    def _place(self, head: int) -> None:
        self._write16(self.available + 4 + 2 * (self.next_available % self.size), head)
        self.next_available = (self.next_available + 1) & 0xFFFF

    def _take_back(self, head: int, written: int) -> GuestBuffer:
        buffer = self.outstanding.pop(head)
        answer = b"".join(self.memory.read(address, length) for address, length in buffer.writable)
        buffer.written, buffer.answer = written, answer[:written]
        self._free.extend(reversed(buffer.descriptors))
        for address, length in (*buffer.readable, *buffer.writable, *([buffer.table] if buffer.table[1] else ())):
            self.allocator.free(address, length)
        return buffer

    def _allocate(self, data: bytes) -> int:
        address = self.allocator.allocate(len(data))
        self.memory.write(address, data)
        return address

    def _read16(self, address: int) -> int:
        return int.from_bytes(self.memory.read(address, 2), "little")

    def _write16(self, address: int, value: int) -> None:
        self.memory.write(address, (value & 0xFFFF).to_bytes(2, "little"))
