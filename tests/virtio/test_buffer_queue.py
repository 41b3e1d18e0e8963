# SPDX-License-Identifier: GPL-2.0-or-later
"""BufferQueue: chains taken one by one or several at once, put back, kept and given up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from asyncemu.errors import GuestError
from asyncemu.loop import AioContext
from asyncemu.memory import AddressSpace, GuestRam
from asyncemu.testing import GuestAllocator, QueueDriver
from asyncemu.virtio.runner import BufferQueue
from asyncemu.virtio.split_queue import SplitQueue

BASE = 0x8000_0000


@dataclass
class Both:
    """A queue that has been activated, and its driver."""

    buffers: BufferQueue
    driver: QueueDriver
    failures: list[BaseException] = field(default_factory=list)
    interrupts: list[None] = field(default_factory=list)

    def offer(self, *texts: bytes) -> None:
        for text in texts:
            self.driver.add([text], [])
        self.driver.publish()

    def pop_all(self) -> list[bytes]:
        return [chain.readable.tobytes() for chain in self.buffers.pop_batch(100)]


@pytest.fixture
def make(context: AioContext) -> Callable[..., Both]:
    def make_both(event_index: bool = True) -> Both:
        ram = GuestRam(1 << 16)
        memory = AddressSpace()
        memory.add_ram(BASE, ram)
        driver = QueueDriver(memory, GuestAllocator(BASE, 1 << 16), 8, event_index=event_index)
        failures: list[BaseException] = []
        interrupts: list[None] = []
        buffers = BufferQueue(context, "queue", 8, lambda: interrupts.append(None), failures.append)
        buffers.activate(
            SplitQueue(memory, 8, driver.descriptors, driver.available, driver.used, event_index=event_index)
        )
        return Both(buffers, driver, failures, interrupts)

    return make_both


@pytest.fixture
def both(make: Callable[..., Both]) -> Both:
    return make()


async def test_pop_batch_takes_at_most_so_many(both: Both) -> None:
    both.offer(b"a", b"b", b"c")

    batches = [[chain.readable.tobytes() for chain in both.buffers.pop_batch(2)] for _ in range(3)]

    assert batches == [[b"a", b"b"], [b"c"], []]


@pytest.mark.parametrize("event_index", [True, False])
async def test_pop_batch_asks_to_be_rung_when_it_has_emptied_the_ring(
    make: Callable[..., Both], event_index: bool
) -> None:
    both = make(event_index)
    both.offer(b"a", b"b")
    both.buffers.pop_batch(1)
    both.driver.add([b"c"], [])
    rung = [both.driver.publish()]

    both.buffers.pop_batch(8)
    both.driver.add([b"d"], [])
    rung.append(both.driver.publish())

    assert rung == [False, True]


async def test_pop_batch_bad_chain_fails_the_queue(both: Both) -> None:
    both.driver.offer(99)

    assert both.buffers.pop_batch(8) == []
    assert [type(error) for error in both.failures] == [GuestError]


async def test_unpop_last_ones_come_again(both: Both) -> None:
    both.offer(b"a", b"b", b"c")
    chains = both.buffers.pop_batch(8)

    both.buffers.unpop(chains[1:])

    assert both.pop_all() == [b"b", b"c"]


async def test_give_back_all_is_one_interrupt(both: Both) -> None:
    both.offer(b"a", b"b", b"c")

    both.buffers.give_back_all(both.buffers.pop_batch(8))

    assert (len(both.driver.collect()), len(both.interrupts)) == (3, 1)


async def test_give_back_all_what_is_not_popped_any_more_is_left_alone(both: Both) -> None:
    both.offer(b"a", b"b")
    chains = both.buffers.pop_batch(8)
    both.buffers.unpop(chains[1:])

    both.buffers.give_back_all(chains)

    assert len(both.driver.collect()) == 1


async def test_quiesced_queue_gives_nothing_and_takes_back_what_was_kept(both: Both) -> None:
    both.offer(b"a", b"b")
    kept = both.buffers.pop_batch(1)
    both.buffers.on_release = lambda: both.buffers.unpop(kept)

    await both.buffers.quiesce()
    quiet = (both.buffers.pop(), both.buffers.pop_batch(8), both.buffers.available)
    await both.buffers.resume()

    assert quiet == (None, [], 0)
    assert both.pop_all() == [b"a", b"b"]


async def test_stopped_queue_releases_and_ignores_what_is_put_back(both: Both) -> None:
    both.offer(b"a")
    kept = both.buffers.pop_batch(1)
    released: list[None] = []
    both.buffers.on_release = lambda: released.append(None)

    await both.buffers.deactivate()
    both.buffers.unpop(kept)
    both.buffers.give_back_all(kept)

    assert (len(released), both.driver.used_index) == (1, 0)
