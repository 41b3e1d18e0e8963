# SPDX-License-Identifier: GPL-2.0-or-later
"""Several queue pairs: 5.1.2 and 5.1.6.5.5; and pairs that live in iothreads."""

from __future__ import annotations

from asyncemu.loop import IOThread
from asyncemu.testing import DeviceBench
from asyncemu.testing.memory_wire import MemoryNetdev, MemoryNetdevOptions, Wire
from asyncemu.virtio.defs import F_VERSION_1
from asyncemu.virtio.net import NetOptions, VirtioNet, features
from tests.virtio.net.conftest import BROADCAST, PLAIN_HEADER, UNICAST, Card, MakeCard

OK, ERROR = 0, 1


def pairs(count: int) -> bytes:
    return count.to_bytes(2, "little")


async def test_pairs_are_the_netdevs_and_the_control_queue_is_behind_them(make_card: MakeCard) -> None:
    card = await make_card(queues=3)

    assert [queue.size for queue in card.driver.queues] == [256] * 6 + [64]
    assert card.driver.features & features.MQ


async def test_pairs_before_the_driver_asks_only_the_first_has_a_cable(make_card: MakeCard) -> None:
    card = await make_card(queues=3)

    assert [wire.carrier for wire in card.netdev.wires] == [True, False, False]


async def test_pairs_set_plugs_them_in_and_out(make_card: MakeCard) -> None:
    card = await make_card(queues=3)

    answers = [await card.command(4, 0, pairs(3))]
    three = [wire.carrier for wire in card.netdev.wires]
    answers.append(await card.command(4, 0, pairs(2)))

    assert answers == [OK, OK]
    assert three == [True, True, True]
    assert [wire.carrier for wire in card.netdev.wires] == [True, True, False]


async def test_pairs_that_are_not_there_are_refused(make_card: MakeCard) -> None:
    card = await make_card(queues=2)

    assert [await card.command(4, 0, pairs(count)) for count in (0, 3, 0x8000)] == [ERROR, ERROR, ERROR]


async def test_frames_of_a_pair_are_its_wires(make_card: MakeCard) -> None:
    card = await make_card(queues=2)
    await card.command(4, 0, pairs(2))
    receiveq, transmitq = card.driver.queues[2:4]
    buffer = receiveq.add([], [1536])
    await receiveq.kick(always=True)

    card.netdev.wires[1].feed(UNICAST)
    await receiveq.done(buffer)
    await transmitq.request([PLAIN_HEADER + BROADCAST], [])

    assert buffer.answer[12:] == UNICAST
    assert [wire.frames for wire in card.netdev.wires] == [[], [BROADCAST]]


async def test_link_of_the_card_is_that_of_the_pairs_in_use(make_card: MakeCard) -> None:
    card = await make_card(queues=3)
    await card.command(4, 0, pairs(2))

    await card.device.set_link(False)
    down = [wire.carrier for wire in card.netdev.wires]
    await card.device.set_link(True)

    assert down == [False] * 3
    assert [wire.carrier for wire in card.netdev.wires] == [True, True, False]


async def test_reset_leaves_one_pair(make_card: MakeCard) -> None:
    card = await make_card(queues=2)
    await card.command(4, 0, pairs(2))

    await card.driver.start()

    assert [wire.carrier for wire in card.netdev.wires] == [True, False]


async def test_driver_without_mq_has_its_control_queue_at_number_two(make_card: MakeCard) -> None:
    card = await make_card(F_VERSION_1 | features.CTRL_VQ | features.CTRL_RX, queues=2)

    buffer = await card.driver.queues[2].request([b"\0\0\0"], [1])

    assert buffer.answer[0] == OK
    assert not card.device.filter.promiscuous


async def test_driver_without_mq_stops_and_starts_its_control_queue(make_card: MakeCard) -> None:
    card = await make_card(F_VERSION_1 | features.CTRL_VQ | features.CTRL_RX, queues=2)
    await card.device.stop_queue(2)

    assert card.device.queues[4].queue is None


# ---- in iothreads


async def test_pairs_in_two_iothreads_serve_their_own_frames(iothreads: list[IOThread], bench: DeviceBench) -> None:
    first, second = (thread.aio_context for thread in iothreads)
    netdev = MemoryNetdev(MemoryNetdevOptions(queues=2), "net0", first, bench.clocks)
    netdev.wires[1].context = second
    device, driver = await bench.add_virtio(VirtioNet, NetOptions(netdev="net0"), first, netdev=netdev)
    await driver.start()
    card = Card(device, driver, netdev)
    await card.command(4, 0, pairs(2))

    got = []
    for context, wire, index in ((first, netdev.wires[0], 0), (second, netdev.wires[1], 2)):
        receiveq, transmitq = driver.queues[index : index + 2]
        buffer = receiveq.add([], [1536])
        await receiveq.kick(always=True)
        await transmitq.request([PLAIN_HEADER + BROADCAST], [])

        async def feed(wire: Wire = wire) -> None:
            wire.feed(UNICAST)

        await context.call(feed)
        await receiveq.done(buffer)
        got.append((wire.frames, buffer.answer[12:]))

    assert got == [([BROADCAST], UNICAST)] * 2
    assert [queue.context for queue in device.queues] == [first, first, second, second, first]


async def test_reset_of_pairs_in_two_iothreads_with_frames_held(iothreads: list[IOThread], bench: DeviceBench) -> None:
    first, second = (thread.aio_context for thread in iothreads)
    netdev = MemoryNetdev(MemoryNetdevOptions(queues=2), "net0", first, bench.clocks)
    netdev.wires[1].context = second
    device, driver = await bench.add_virtio(VirtioNet, NetOptions(netdev="net0"), first, netdev=netdev)
    await driver.start()
    card = Card(device, driver, netdev)
    await card.command(4, 0, pairs(2))
    netdev.wires[1].room = 0
    driver.queues[3].add([PLAIN_HEADER + BROADCAST], [])
    await driver.queues[3].kick()

    await driver.start()
    netdev.wires[1].room = None
    await card.transmit(UNICAST)

    assert (netdev.wires[0].frames, netdev.wires[1].frames) == ([UNICAST], [])
    assert [wire.carrier for wire in netdev.wires] == [True, False]
