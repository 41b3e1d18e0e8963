# SPDX-License-Identifier: GPL-2.0-or-later
"""SplitQueue against a driver that breaks every rule: a GuestError within bounded work, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.errors import GuestError
from asyncemu.memory import AddressSpace, GuestRam
from asyncemu.testing import GuestAllocator, QueueDriver
from asyncemu.virtio.chain import Chain
from asyncemu.virtio.defs import DESC_INDIRECT, DESC_NEXT, DESC_WRITE
from asyncemu.virtio.split_queue import MAX_CHAIN, SplitQueue

BASE = 0x8000_0000
RAM_SIZE = 1 << 16
SIZE = 8
#: Memory that no queue area uses.
DATA = BASE + 0x8000


def device_of(memory: AddressSpace, driver: QueueDriver, *, indirect: bool = True) -> SplitQueue:
    return SplitQueue(memory, SIZE, driver.descriptors, driver.available, driver.used, indirect=indirect)


@pytest.fixture
def memory() -> Iterator[AddressSpace]:
    ram = GuestRam(RAM_SIZE)
    memory = AddressSpace()
    memory.add_ram(BASE, ram)
    yield memory
    ram.close()


@pytest.fixture
def driver(memory: AddressSpace) -> QueueDriver:
    return QueueDriver(memory, GuestAllocator(BASE, RAM_SIZE // 2), SIZE)


@pytest.fixture
def device(memory: AddressSpace, driver: QueueDriver) -> SplitQueue:
    return device_of(memory, driver)


def refused(device: SplitQueue, driver: QueueDriver, message: str, head: int = 0) -> None:
    driver.offer(head)
    with pytest.raises(GuestError, match=message):
        device.pop()


def write_table(memory: AddressSpace, *entries: tuple[int, int, int, int]) -> int:
    """An indirect table at DATA; its length."""
    memory.write(DATA, b"".join(struct.pack("<QIHH", *entry) for entry in entries))
    return 16 * len(entries)


def test_pop_descriptor_loop_refused(device: SplitQueue, driver: QueueDriver) -> None:
    driver.write_descriptor(0, DATA, 1, DESC_NEXT, 1)
    driver.write_descriptor(1, DATA, 1, DESC_NEXT, 0)

    refused(device, driver, f"more than {MAX_CHAIN} descriptors, or a loop")


def test_pop_descriptor_pointing_at_itself_refused(device: SplitQueue, driver: QueueDriver) -> None:
    driver.write_descriptor(0, DATA, 1, DESC_NEXT, 0)

    refused(device, driver, "or a loop")


def test_pop_loop_in_indirect_table_refused(memory: AddressSpace, device: SplitQueue, driver: QueueDriver) -> None:
    length = write_table(memory, (DATA, 1, DESC_NEXT, 0))
    driver.write_descriptor(0, DATA, length, DESC_INDIRECT)

    refused(device, driver, "or a loop")


def test_pop_head_beyond_table_refused(device: SplitQueue, driver: QueueDriver) -> None:
    refused(device, driver, "descriptor 8 in a table of 8", head=SIZE)


def test_pop_next_beyond_table_refused(device: SplitQueue, driver: QueueDriver) -> None:
    driver.write_descriptor(0, DATA, 1, DESC_NEXT, 65535)

    refused(device, driver, "descriptor 65535 in a table of 8")


def test_pop_next_beyond_indirect_table_refused(memory: AddressSpace, device: SplitQueue, driver: QueueDriver) -> None:
    length = write_table(memory, (DATA, 1, DESC_NEXT, 1))
    driver.write_descriptor(0, DATA, length, DESC_INDIRECT)

    refused(device, driver, "descriptor 1 in a table of 1")


@pytest.mark.parametrize(
    ("address", "length"),
    [
        (0, 1),
        (BASE - 1, 2),
        (BASE + RAM_SIZE, 1),
        (BASE + RAM_SIZE - 1, 2),
        (BASE, RAM_SIZE + 1),
        (BASE, 0xFFFFFFFF),
        ((1 << 64) - 1, 1),
        ((1 << 64) - 1, 0xFFFFFFFF),
    ],
)
@pytest.mark.parametrize("flags", [0, DESC_WRITE])
def test_pop_memory_not_wholly_in_ram_refused(
    device: SplitQueue, driver: QueueDriver, address: int, length: int, flags: int
) -> None:
    driver.write_descriptor(0, address, length, flags)

    refused(device, driver, "not in guest RAM|bytes or more")


def test_pop_zero_length_refused(device: SplitQueue, driver: QueueDriver) -> None:
    driver.write_descriptor(0, DATA, 0)

    refused(device, driver, "descriptor 0 has no length")


def test_pop_readable_after_writable_refused(device: SplitQueue, driver: QueueDriver) -> None:
    driver.write_descriptor(0, DATA, 1, DESC_WRITE | DESC_NEXT, 1)
    driver.write_descriptor(1, DATA, 1)

    refused(device, driver, "descriptor 1 is readable behind a writable one")


def test_pop_4_gib_in_all_refused() -> None:
    ram = GuestRam(1 << 24)
    memory = AddressSpace()
    memory.add_ram(BASE, ram)
    driver = QueueDriver(memory, GuestAllocator(BASE, 1 << 16), SIZE)
    memory.write(DATA, b"".join(struct.pack("<QIHH", BASE, 1 << 24, DESC_NEXT, index + 1) for index in range(300)))
    driver.write_descriptor(0, DATA, 16 * 300, DESC_INDIRECT)

    refused(device_of(memory, driver), driver, f"a chain of {1 << 32} bytes or more")


def test_pop_indirect_inside_indirect_refused(memory: AddressSpace, device: SplitQueue, driver: QueueDriver) -> None:
    length = write_table(memory, (DATA, 16, DESC_INDIRECT, 0))
    driver.write_descriptor(0, DATA, length, DESC_INDIRECT)

    refused(device, driver, "indirect where it may not be")


def test_pop_indirect_with_next_refused(memory: AddressSpace, device: SplitQueue, driver: QueueDriver) -> None:
    length = write_table(memory, (DATA, 1, 0, 0))
    driver.write_descriptor(0, DATA, length, DESC_INDIRECT | DESC_NEXT, 1)

    refused(device, driver, "indirect where it may not be")


def test_pop_indirect_not_negotiated_refused(memory: AddressSpace, driver: QueueDriver) -> None:
    length = write_table(memory, (DATA, 1, 0, 0))
    driver.write_descriptor(0, DATA, length, DESC_INDIRECT)

    refused(device_of(memory, driver, indirect=False), driver, "indirect where it may not be")


@pytest.mark.parametrize("length", [0, 1, 15, 17])
def test_pop_indirect_length_not_whole_entries_refused(device: SplitQueue, driver: QueueDriver, length: int) -> None:
    driver.write_descriptor(0, DATA, length, DESC_INDIRECT)

    refused(device, driver, f"an indirect table of {length} bytes")


def test_pop_indirect_table_outside_ram_refused(device: SplitQueue, driver: QueueDriver) -> None:
    driver.write_descriptor(0, BASE + RAM_SIZE - 16, 32, DESC_INDIRECT)

    refused(device, driver, "not in guest RAM")


@pytest.mark.parametrize("index", [SIZE + 1, 0x8000, 0xFFFF])
def test_pop_available_index_more_than_queue_ahead_refused(device: SplitQueue, driver: QueueDriver, index: int) -> None:
    driver.set_available_index(index)

    with pytest.raises(GuestError, match=f"available index {index} is {index} ahead in a queue of 8"):
        device.pop()


def test_pop_same_descriptor_offered_again_and_again_refused(device: SplitQueue, driver: QueueDriver) -> None:
    driver.write_descriptor(0, DATA, 1)
    for _ in range(SIZE):
        driver.offer(0)
        device.pop()

    refused(device, driver, "more than 8 buffers in a queue of 8")


def test_publish_used_index_scribbled_on_is_written_again(
    memory: AddressSpace, device: SplitQueue, driver: QueueDriver
) -> None:
    driver.add([], [1])
    driver.publish()
    chain = device.pop()
    assert chain is not None
    memory.write(driver.used + 2, b"\1\0")

    device.push(chain)

    assert device.publish()
    assert driver.used_index == 1


interesting = st.one_of(
    st.integers(0, SIZE), st.integers(BASE - 32, BASE + 32), st.integers(BASE + RAM_SIZE - 32, BASE + RAM_SIZE)
)
descriptors = st.builds(
    lambda address, length, flags, following: struct.pack("<QIHH", address, length, flags, following),
    st.one_of(interesting, st.integers(0, (1 << 64) - 1)),
    st.one_of(st.sampled_from([0, 1, 16, 32, 0xFFFFFFFF]), st.integers(0, RAM_SIZE)),
    st.integers(0, 7),
    st.integers(0, SIZE),
)


tables = st.one_of(st.binary(max_size=16 * SIZE), st.lists(descriptors, max_size=SIZE).map(b"".join))


@given(tables, st.integers(0, 2 * SIZE), st.lists(st.integers(0, SIZE), max_size=SIZE), st.integers(0, 2 * SIZE))
def test_pop_batch_any_bytes_give_what_pop_gives_or_nothing_taken(
    table: bytes, index: int, heads: list[int], limit: int
) -> None:
    ram = GuestRam(RAM_SIZE)
    memory = AddressSpace()
    memory.add_ram(BASE, ram)
    areas = (BASE, BASE + 0x1000, BASE + 0x2000)
    memory.write(BASE, table)
    memory.write(BASE + 0x1000, struct.pack(f"<{2 + len(heads)}H", 0, index, *heads))
    one, other = (SplitQueue(memory, SIZE, *areas, indirect=True) for _ in range(2))

    batch = spans_or_none(lambda: one.pop_batch(limit))
    popped = spans_or_none(lambda: [chain for _ in range(limit) if (chain := other.pop()) is not None])

    assert batch == popped
    assert one.next_available == (0 if batch is None else other.next_available)
    ram.close()


def spans_or_none(pop: Callable[[], list[Chain]]) -> list[tuple[int, list[tuple[int, int]]]] | None:
    """Heads and spans; None for a GuestError."""
    try:
        return [(chain.head, chain.spans) for chain in pop()]
    except GuestError:
        return None


@given(
    tables,
    st.binary(max_size=6 + 2 * SIZE),
    st.binary(max_size=6 + 8 * SIZE),
    st.booleans(),
)
def test_any_bytes_in_all_areas_give_chains_inside_ram_or_guest_error(
    table: bytes, available: bytes, used: bytes, event_index: bool
) -> None:
    ram = GuestRam(RAM_SIZE)
    memory = AddressSpace()
    memory.add_ram(BASE, ram)
    areas = (BASE, BASE + 0x1000, BASE + 0x2000)
    for address, data in zip(areas, (table, available, used), strict=True):
        memory.write(address, data)
    queue = SplitQueue(memory, SIZE, *areas, event_index=event_index, indirect=True)
    try:
        for _ in range(1000):
            chain = queue.pop()
            if chain is None:
                break
            assert chain.readable.nbytes + chain.capacity <= MAX_CHAIN * RAM_SIZE
            # Perhaps over the rings themselves.
            chain.writable.write(b"\xff" * 64)
            queue.push(chain)
            queue.publish()
            queue.enable_notifications()
    except GuestError:
        pass
    ram.close()
