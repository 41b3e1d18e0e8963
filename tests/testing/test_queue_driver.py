# SPDX-License-Identifier: GPL-2.0-or-later
"""QueueDriver lays the rings out as virtio 1.2, 2.7 says: looked at byte by byte, without our device."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from asyncemu.memory import AddressSpace, GuestRam
from asyncemu.testing import GuestAllocator, QueueDriver

BASE = 0x8000_0000


@pytest.fixture
def memory() -> Iterator[AddressSpace]:
    ram = GuestRam(1 << 16)
    memory = AddressSpace()
    memory.add_ram(BASE, ram)
    yield memory
    ram.close()


@pytest.fixture
def queue(memory: AddressSpace) -> QueueDriver:
    return QueueDriver(memory, GuestAllocator(BASE, 1 << 16), 4)


def descriptor(queue: QueueDriver, number: int) -> tuple[int, int, int, int]:
    address, length, flags, following = struct.unpack("<QIHH", queue.memory.read(queue.descriptors + 16 * number, 16))
    return address, length, flags, following


def use(queue: QueueDriver, slot: int, head: int, written: int, index: int) -> None:
    """What a device does to give a buffer back."""
    queue.memory.write(queue.used + 4 + 8 * slot, struct.pack("<II", head, written))
    queue.memory.write(queue.used + 2, struct.pack("<H", index))


def test_areas_are_aligned_and_apart(queue: QueueDriver) -> None:
    assert queue.descriptors % 16 == queue.available % 2 == queue.used % 4 == 0
    assert queue.descriptors + 64 <= queue.available <= queue.used - 14


def test_add_links_descriptors_readable_first(queue: QueueDriver) -> None:
    buffer = queue.add([b"abc"], [5, 6])
    first, second, third = (descriptor(queue, number) for number in buffer.descriptors)

    assert [first[1:], second[1:], third[1:]] == [
        (3, 1, buffer.descriptors[1]),
        (5, 1 | 2, buffer.descriptors[2]),
        (6, 2, 0),
    ]
    assert queue.memory.read(first[0], 3) == b"abc"


def test_add_indirect_holds_one_descriptor_with_a_table(queue: QueueDriver) -> None:
    buffer = queue.add([b"abc"], [5], indirect=True)
    address, length, flags, _ = descriptor(queue, buffer.head)
    table = list(struct.iter_unpack("<QIHH", queue.memory.read(address, length)))

    assert (length, flags, len(buffer.descriptors)) == (32, 4, 1)
    assert [entry[1:] for entry in table] == [(3, 1, 1), (5, 2, 0)]


def test_publish_shows_head_and_index(queue: QueueDriver) -> None:
    buffer = queue.add([b"x"], [])
    before = queue.memory.read(queue.available, 4)
    queue.publish()

    assert (before, queue.memory.read(queue.available, 4)) == (bytes(4), b"\0\0\1\0")
    assert queue.memory.read(queue.available + 4, 2) == struct.pack("<H", buffer.head)


def test_add_more_than_there_are_descriptors_refused(queue: QueueDriver) -> None:
    queue.add([b"x"] * 3, [])

    with pytest.raises(IndexError, match="1 descriptors are left"):
        queue.add([b"x"] * 2, [])


def test_collect_gives_answer_and_frees_descriptors(queue: QueueDriver) -> None:
    buffer = queue.add([], [3, 3])
    queue.memory.write(buffer.writable[0][0], b"abc")
    queue.memory.write(buffer.writable[1][0], b"def")
    use(queue, 0, buffer.head, 4, 1)

    assert queue.collect() == [buffer]
    assert (buffer.done, buffer.answer) == (True, b"abcd")
    assert queue.add([b"x"] * 4, []).descriptors


def test_collect_memory_is_used_again(memory: AddressSpace) -> None:
    queue = QueueDriver(memory, GuestAllocator(BASE, 512), 2)
    for number in range(1, 100):
        buffer = queue.add([bytes(64)], [64], indirect=True)
        use(queue, (number - 1) % 2, buffer.head, 64, number)
        assert queue.collect() == [buffer]


def test_collect_with_event_index_asks_for_the_next(memory: AddressSpace) -> None:
    queue = QueueDriver(memory, GuestAllocator(BASE, 1 << 16), 4, event_index=True)
    use(queue, 0, queue.add([], [1]).head, 0, 1)
    queue.collect()

    assert memory.read(queue.available + 4 + 8, 2) == b"\1\0"


def test_allocator_without_memory_refused() -> None:
    allocator = GuestAllocator(BASE, 64)
    allocator.allocate(48)

    with pytest.raises(MemoryError):
        allocator.allocate(17)
