# SPDX-License-Identifier: GPL-2.0-or-later
"""SplitQueue against QueueDriver: what the driver places comes out, and goes back, as virtio 1.2, 2.7 says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.errors import GuestError
from asyncemu.memory import AddressSpace, GuestRam
from asyncemu.testing import GuestAllocator, QueueDriver
from asyncemu.virtio.chain import Chain
from asyncemu.virtio.defs import DESC_NEXT, DESC_WRITE
from asyncemu.virtio.split_queue import SplitQueue

BASE = 0x8000_0000
RAM_SIZE = 1 << 18


@dataclass
class Pair:
    """Both ends of one queue."""

    memory: AddressSpace
    driver: QueueDriver
    device: SplitQueue

    def pop(self) -> Chain:
        chain = self.device.pop()
        assert chain is not None
        return chain


@contextmanager
def make_pair(size: int = 8, *, event_index: bool = False, start: int = 0) -> Iterator[Pair]:
    ram = GuestRam(RAM_SIZE)
    memory = AddressSpace()
    memory.add_ram(BASE, ram)
    driver = QueueDriver(memory, GuestAllocator(BASE, RAM_SIZE), size, event_index=event_index)
    device = SplitQueue(
        memory, size, driver.descriptors, driver.available, driver.used, event_index=event_index, indirect=True
    )
    driver.start_at(start)
    device.next_available = device.next_used = device.published = start
    yield Pair(memory, driver, device)
    ram.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    with make_pair() as pair:
        yield pair


# ---- what goes in comes out

parts = st.tuples(
    st.lists(st.binary(min_size=1, max_size=40), max_size=3),
    st.lists(st.integers(1, 40), max_size=3),
    st.booleans(),
).filter(lambda part: part[0] or part[1])


@given(st.lists(st.lists(parts, min_size=1, max_size=2), max_size=30), st.sampled_from([0, 65530]))
def test_pop_any_chains_come_out_as_given_and_go_back(
    batches: list[list[tuple[list[bytes], list[int], bool]]], start: int
) -> None:
    with make_pair(16, start=start) as pair:
        for batch in batches:
            buffers = [pair.driver.add(data, room, indirect=indirect) for data, room, indirect in batch]
            pair.driver.publish()
            chains = [pair.pop() for _ in batch]
            assert pair.device.pop() is None
            assert [chain.readable.tobytes() for chain in chains] == [b"".join(data) for data, _, _ in batch]
            assert [[len(view) for view in chain.writable] for chain in chains] == [room for _, room, _ in batch]
            for chain in reversed(chains):
                chain.written = chain.writable.write(bytes([chain.head + 1]) * chain.capacity)
                pair.device.push(chain)
            pair.device.publish()
            assert pair.driver.collect() == list(reversed(buffers))
            assert [buffer.answer for buffer in buffers] == [
                bytes([buffer.head + 1]) * sum(room) for buffer, (_, room, _) in zip(buffers, batch, strict=True)
            ]


@given(st.lists(parts, max_size=8), st.sampled_from([0, 12, 65530]), st.integers(0, 9))
def test_pop_batch_any_chains_are_those_that_pop_gives(
    batch: list[tuple[list[bytes], list[int], bool]], start: int, limit: int
) -> None:
    with make_pair(32, start=start) as pair:
        for data, room, indirect in batch:
            pair.driver.add(data, room, indirect=indirect)
        pair.driver.publish()

        chains = pair.device.pop_batch(limit)
        pair.device.unpop(len(chains))
        expected = [pair.pop() for _ in batch[:limit]]

        assert [described(chain) for chain in chains] == [described(chain) for chain in expected]
        assert len(chains) == min(len(batch), limit)


def described(chain: Chain) -> tuple[object, ...]:
    return chain.head, chain.spans, chain.readable.tobytes(), [len(view) for view in chain.writable], chain.written


@pytest.mark.parametrize("size", [1, 2, 8])
def test_pop_more_than_65536_chains_indices_wrap(size: int) -> None:
    with make_pair(size, start=65536 - 3) as pair:
        for number in range(10):
            buffer = pair.driver.add([bytes([number])], [1], indirect=True)
            pair.driver.publish()
            chain = pair.pop()
            chain.writable.write(chain.readable.tobytes())
            pair.device.push(chain)
            pair.device.publish()
            assert pair.driver.collect() == [buffer]
            assert buffer.answer == bytes([number])
        assert pair.driver.used_index == 7


def test_pop_direct_descriptors_before_indirect_one_taken_together(pair: Pair) -> None:
    indirect = pair.driver.add([b"tail"], [], indirect=True)
    pair.memory.write(BASE + 0x8000, b"head")
    pair.driver.write_descriptor(5, BASE + 0x8000, 4, DESC_NEXT, indirect.head)
    pair.driver.next_available = 0
    pair.driver.offer(5)

    assert pair.pop().readable.tobytes() == b"headtail"


def test_pop_nothing_published_gives_none(pair: Pair) -> None:
    pair.driver.add([b"x"], [])

    assert pair.device.pop() is None


def test_pop_chain_of_1024_descriptors_taken() -> None:
    with make_pair(1024) as pair:
        pair.driver.add([b"x"] * 1024, [])
        pair.driver.publish()

        assert pair.pop().readable.tobytes() == b"x" * 1024


def test_pending_several_published_counted(pair: Pair) -> None:
    pair.driver.add([b"x"], [])
    pair.driver.add([b"y"], [])
    pair.driver.publish()

    assert pair.device.pending() == 2


# ---- used ring


def test_push_without_written_says_whole_writable_part(pair: Pair) -> None:
    buffer = pair.driver.add([b"x"], [3, 4])
    pair.driver.publish()

    pair.device.push(pair.pop())
    pair.device.publish()
    pair.driver.collect()

    assert buffer.written == 7


def test_push_written_beyond_room_is_cut(pair: Pair) -> None:
    buffer = pair.driver.add([], [3])
    pair.driver.publish()
    chain = pair.pop()
    chain.written = 100

    pair.device.push(chain)
    pair.device.publish()
    pair.driver.collect()

    assert buffer.written == 3


def test_push_tells_listeners_exactly_what_was_written(pair: Pair) -> None:
    buffer = pair.driver.add([b"x"], [10, 10, 10])
    pair.driver.publish()
    chain = pair.pop()
    chain.written = 15
    heard: list[tuple[int, int]] = []
    pair.memory.on_write(lambda address, length: heard.append((address, length)))

    pair.device.push(chain)

    assert heard == [buffer.writable[0], (buffer.writable[1][0], 5)]


def test_push_all_tells_listeners_of_neighbours_in_memory_once(pair: Pair) -> None:
    for number, (address, length) in enumerate([(0x8000, 16), (0x8010, 16), (0x8020, 16), (0x9000, 16)]):
        pair.driver.write_descriptor(number, BASE + address, length, DESC_WRITE, 0)
        pair.driver.offer(number)
    chains = pair.device.pop_batch(4)
    chains[2].written = 5
    heard: list[tuple[int, int]] = []
    pair.memory.on_write(lambda address, length: heard.append((address, length)))

    pair.device.push_all(chains)

    assert heard == [(BASE + 0x8000, 37), (BASE + 0x9000, 16)]


def test_push_not_published_is_not_seen(pair: Pair) -> None:
    pair.driver.add([], [1])
    pair.driver.publish()

    pair.device.push(pair.pop())

    assert pair.driver.collect() == []


# ---- notifications


def answer_one(pair: Pair) -> bool:
    """One buffer there and back; does the driver want an interrupt?"""
    pair.driver.add([], [1])
    pair.driver.publish()
    pair.device.push(pair.pop())
    return pair.device.publish()


def test_publish_nothing_pushed_wants_no_interrupt(pair: Pair) -> None:
    assert not pair.device.publish()


def test_publish_driver_without_wish_wants_interrupt(pair: Pair) -> None:
    assert answer_one(pair)


def test_publish_driver_said_no_interrupt_wants_none(pair: Pair) -> None:
    pair.driver.set_interrupts(False)

    assert not answer_one(pair)


def test_suppress_notifications_driver_need_not_ring(pair: Pair) -> None:
    pair.device.suppress_notifications()
    pair.driver.add([b"x"], [])

    assert not pair.driver.publish()


def test_enable_notifications_driver_must_ring(pair: Pair) -> None:
    pair.device.suppress_notifications()
    assert not pair.device.enable_notifications()
    pair.driver.add([b"x"], [])

    assert pair.driver.publish()


@pytest.mark.parametrize("event_index", [False, True])
def test_enable_notifications_something_came_between_is_said(event_index: bool) -> None:
    with make_pair(event_index=event_index) as pair:
        pair.device.suppress_notifications()
        pair.driver.add([b"x"], [])
        pair.driver.publish()

        assert pair.device.enable_notifications()


def test_event_index_rung_only_once_until_device_asks_again() -> None:
    with make_pair(event_index=True) as pair:
        rung = []
        for _ in range(3):
            pair.driver.add([b"x"], [])
            rung.append(pair.driver.publish())

        assert rung == [True, False, False]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(-6, 6)), max_size=40),
    st.sampled_from([0, 65500, 65535]),
)
def test_event_index_interrupt_exactly_when_entry_asked_for_is_among_those_shown(
    steps: list[tuple[int, int]], start: int
) -> None:
    with make_pair(event_index=True, start=start) as pair:
        shown = start
        for count, ahead in steps:
            pair.driver.collect()
            pair.driver.set_used_event(shown + ahead)
            for _ in range(count):
                pair.driver.add([], [1])
            pair.driver.publish()
            for _ in range(count):
                pair.device.push(pair.pop())
            asked_for = (shown + ahead) & 0xFFFF
            entries = [(shown + index) & 0xFFFF for index in range(count)]
            assert pair.device.publish() == (asked_for in entries)
            shown = (shown + count) & 0xFFFF


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), max_size=20), st.sampled_from([0, 65500, 65535]))
def test_event_index_driver_rings_once_each_time_device_asks(rounds: list[list[int]], start: int) -> None:
    with make_pair(16, event_index=True, start=start) as pair:
        for batches in rounds:
            pair.device.enable_notifications()
            rung = []
            for count in batches:
                for _ in range(count):
                    pair.driver.add([], [1])
                rung.append(pair.driver.publish())
            for _ in range(sum(batches)):
                pair.device.push(pair.pop())
            pair.device.publish()
            pair.driver.collect()
            assert rung == [True] + [False] * (len(batches) - 1)


# ---- areas


def make_queue(pair: Pair, **changes: int) -> SplitQueue:
    areas = {
        "size": 8,
        "descriptors": pair.driver.descriptors,
        "available": pair.driver.available,
        "used": pair.driver.used,
    }
    areas.update(changes)
    return SplitQueue(pair.memory, areas["size"], areas["descriptors"], areas["available"], areas["used"])


@pytest.mark.parametrize("size", [0, 3, 24, 65536, 1 << 31, -8])
def test_queue_size_not_power_of_two_within_limit_refused(pair: Pair, size: int) -> None:
    with pytest.raises(GuestError, match=f"queue size {size} is not a power of two up to 32768"):
        make_queue(pair, size=size)


@pytest.mark.parametrize("area", ["descriptors", "available", "used"])
def test_queue_area_misaligned_refused(pair: Pair, area: str) -> None:
    with pytest.raises(GuestError, match="are not aligned"):
        make_queue(pair, **{area: BASE + 1})


@pytest.mark.parametrize("area", ["descriptors", "available", "used"])
@pytest.mark.parametrize("address", [0, BASE + RAM_SIZE - 16, BASE + RAM_SIZE, (1 << 64) - 16])
def test_queue_area_not_wholly_in_ram_refused(pair: Pair, area: str, address: int) -> None:
    with pytest.raises(GuestError, match="not in guest RAM"):
        make_queue(pair, **{area: address})


# ---- putting back


@given(st.sampled_from([0, 65530]), st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_unpop_chains_come_again_in_their_order(start: int, counts: list[int]) -> None:
    with make_pair(8, start=start) as pair:
        for number in range(5):
            pair.driver.add([bytes([number])], [])
        pair.driver.publish()
        for count in counts:
            chains = [pair.pop() for _ in range(3)]
            assert [chain.readable.tobytes()[0] for chain in chains] == list(range(3))
            pair.device.unpop(count)
            for _ in range(count):
                pair.pop()
            pair.device.unpop(3)


def test_unpop_more_than_were_popped_is_a_value_error(pair: Pair) -> None:
    pair.driver.add([b"a"], [])
    pair.driver.publish()
    pair.device.push(pair.pop())

    with pytest.raises(ValueError, match="1 chains to be put back, more than were popped"):
        pair.device.unpop(1)
