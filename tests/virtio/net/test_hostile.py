# SPDX-License-Identifier: GPL-2.0-or-later
"""Drivers that do what they may not: nobody but their own card suffers, and nothing grows without bound."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncemu.loop import AioContext
from asyncemu.testing import DeviceBench
from asyncemu.testing.bench import RAM_BASE
from asyncemu.testing.memory_wire import MemoryNetdev, MemoryNetdevOptions
from asyncemu.virtio.defs import DESC_NEXT, DESC_WRITE, Status
from asyncemu.virtio.mmio_registers import Register
from asyncemu.virtio.net import NetOptions, VirtioNet
from tests.virtio.net.conftest import BROADCAST, PLAIN_HEADER, UNICAST, Card


async def broken(card: Card) -> bool:
    return bool(await card.driver.status() & Status.NEEDS_RESET)


@pytest.mark.parametrize("queue", [0, 1, 2])
async def test_descriptor_past_the_end_of_ram_needs_a_reset(card: Card, bench: DeviceBench, queue: int) -> None:
    end = RAM_BASE + bench.ram.size
    card.driver.queues[queue].write_descriptor(0, end - 8, 64, DESC_WRITE if queue == 0 else 0)
    card.driver.queues[queue].offer(0)
    await card.driver.queues[queue].kick(always=True)

    card.netdev.feed(UNICAST)
    await card.driver.wait_needs_reset()

    assert card.netdev.frames == []


async def test_giant_transmit_chain_of_one_block_again_and_again_is_dropped(card: Card) -> None:
    """127 descriptors of all of guest RAM each: more than 100 MB that are not to be touched."""
    queue = card.transmitq
    for number in range(127):
        queue.write_descriptor(number, RAM_BASE, 1 << 20, DESC_NEXT if number < 126 else 0, number + 1)
    queue.memory.write(RAM_BASE, PLAIN_HEADER)
    queue.offer(0)
    await queue.kick(always=True)
    await card.driver.status()

    assert not await broken(card)
    assert card.netdev.frames == []
    assert card.device.statistics()["sent-dropped"] == 1


async def test_giant_receive_buffer_gets_one_frame(card: Card) -> None:
    queue = card.receiveq
    address = queue.allocator.allocate(4096)
    for number in range(100):
        queue.write_descriptor(number, address, 4096, DESC_WRITE | (DESC_NEXT if number < 99 else 0), number + 1)
    queue.offer(0)
    await queue.kick(always=True)

    card.netdev.feed(UNICAST)

    assert queue.memory.read(address, 12 + len(UNICAST)) == PLAIN_HEADER[:10] + b"\1\0" + UNICAST
    assert card.device.statistics()["received"] == 1


async def test_overlapping_receive_descriptors_are_the_drivers_loss(card: Card) -> None:
    queue = card.receiveq
    address = queue.allocator.allocate(4096)
    queue.write_descriptor(0, address, 60, DESC_WRITE | DESC_NEXT, 1)
    queue.write_descriptor(1, address + 8, 60, DESC_WRITE, 0)
    queue.offer(0)
    await queue.kick(always=True)

    card.netdev.feed(UNICAST)

    assert queue.used_index == 1
    assert not await broken(card)


async def test_transmit_chain_with_writable_parts_is_sent_and_nothing_written(card: Card) -> None:
    buffer = await card.transmitq.request([PLAIN_HEADER + BROADCAST], [64])

    assert (buffer.written, card.netdev.frames) == (0, [BROADCAST])


async def test_available_index_too_far_ahead_needs_a_reset(card: Card) -> None:
    card.transmitq.set_available_index(1000)
    await card.driver.registers.write32(Register.QUEUE_NOTIFY, 1)

    await card.driver.wait_needs_reset()


async def test_frames_for_a_broken_card_wait(card: Card) -> None:
    card.transmitq.offer(9999)
    await card.transmitq.kick(always=True)
    await card.driver.wait_needs_reset()

    card.netdev.feed(UNICAST)

    assert len(card.netdev.unsent) == 1


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.lists(st.tuples(st.integers(0, 1 << 21), st.integers(0, 1 << 17), st.integers(0, 7)), max_size=6),
        ),
        max_size=8,
    ),
    st.integers(0, 1 << 30),
)
async def test_any_descriptors_leave_a_card_that_works_after_a_reset(
    context: AioContext, chains: list[tuple[int, list[tuple[int, int, int]]]], seed: int
) -> None:
    async with DeviceBench(context) as bench:
        netdev = MemoryNetdev(MemoryNetdevOptions(), "net0", context, bench.clocks)
        device, driver = await bench.add_virtio(VirtioNet, NetOptions(netdev="net0"), netdev=netdev)
        await driver.start()
        card = Card(device, driver, netdev)
        dice = random.Random(seed)
        for index, descriptors in chains:
            queue = driver.queues[index]
            for number, (offset, length, flags) in enumerate(descriptors):
                queue.write_descriptor(number, RAM_BASE + offset, length, flags, dice.randrange(8))
            queue.offer(dice.randrange(10))
            await queue.kick(always=True)
            netdev.feed(UNICAST)
        await driver.start()
        netdev.unsent.clear()
        netdev.received.clear()

        await card.transmit(BROADCAST)

        assert netdev.frames == [BROADCAST]
