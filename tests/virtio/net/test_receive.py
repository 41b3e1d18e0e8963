# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames into the guest's buffers: 5.1.6.3 and 5.1.6.4."""

from __future__ import annotations

import pytest

from asyncemu.memory import Buffers
from asyncemu.net import PLAIN, Fill, Filled, Frame, VnetHeader
from asyncemu.net.frame import GSO_TCPV4, NEEDS_CHECKSUM
from asyncemu.virtio.defs import F_EVENT_IDX, F_VERSION_1, Status
from asyncemu.virtio.net import features
from tests.virtio.net.conftest import BROADCAST, HEADER, UNICAST, Card, MakeCard

LONG = UNICAST[:14] + bytes(range(256)) * 20


def header_of(answer: bytes) -> tuple[int, ...]:
    return HEADER.unpack(answer[:12])


async def test_receive_small_frame_has_one_buffer(card: Card) -> None:
    (buffer,) = await card.offer(1536)

    card.netdev.feed(UNICAST)
    await card.receiveq.done(buffer)

    assert header_of(buffer.answer) == (0, 0, 0, 0, 0, 0, 1)
    assert buffer.answer[12:] == UNICAST


async def test_receive_long_frame_is_spread_over_mergeable_buffers(card: Card) -> None:
    buffers = await card.offer(*[1536] * 5)

    card.netdev.feed(LONG)
    await card.receiveq.done(*buffers[:4])

    assert header_of(buffers[0].answer)[-1] == 4
    assert b"".join(each.answer for each in buffers)[12:] == LONG
    assert not buffers[4].done


async def test_receive_frame_of_several_views_in_odd_buffers_arrives_whole(card: Card) -> None:
    buffers = [card.receiveq.add([], room) for room in ([5, 7, 3], [100, 1], [400, 5000])]
    await card.receiveq.kick(always=True)

    card.netdev.feed(Frame(Buffers.of(LONG[:1], LONG[1:200], LONG[200:])))
    await card.receiveq.done(*buffers)

    assert b"".join(each.answer for each in buffers)[12:] == LONG
    assert header_of(buffers[0].answer)[-1] == 3


async def test_receive_buffers_that_grow_are_not_taken_for_nothing(card: Card) -> None:
    (small,) = await card.offer(100)
    card.netdev.feed(UNICAST[:60])
    await card.receiveq.done(small)
    buffers = await card.offer(100, *[4096] * 12)

    card.netdev.feed(LONG)
    await card.receiveq.done(*buffers[:3])

    assert header_of(buffers[0].answer)[-1] == 3
    assert b"".join(each.answer for each in buffers[:3])[12:] == LONG
    assert not any(each.done for each in buffers[3:])


async def test_receive_without_buffers_waits_for_them(card: Card) -> None:
    card.netdev.feed(UNICAST, BROADCAST)
    waiting = len(card.netdev.unsent)

    buffers = await card.offer(1536, 1536)
    await card.receiveq.done(*buffers)

    assert waiting == 2
    assert [each.answer[12:] for each in buffers] == [UNICAST, BROADCAST]


async def test_receive_too_few_mergeable_buffers_waits_and_uses_none(card: Card) -> None:
    few = await card.offer(1536, 1536)
    card.netdev.feed(LONG)
    used = card.receiveq.used_index
    more = await card.offer(1536, 1536)
    await card.receiveq.done(*few, *more)

    assert used == 0
    assert b"".join(each.answer for each in few + more)[12:] == LONG


async def test_receive_batch_is_published_with_one_interrupt(card: Card) -> None:
    interrupts: list[int] = []
    interrupt_queue = card.device.transport.interrupt_queue

    def counted(index: int) -> None:
        interrupts.append(index)
        interrupt_queue(index)

    card.device.transport.interrupt_queue = counted  # type: ignore[method-assign]
    buffers = await card.offer(*[1536] * 8)

    card.netdev.feed(*[UNICAST] * 8)
    await card.receiveq.done(*buffers)

    assert interrupts == [0]


async def test_receive_without_mergeable_buffers_frame_that_fits(make_card: MakeCard) -> None:
    card = await make_card(F_VERSION_1 | features.MAC)
    (buffer,) = await card.offer(6000)

    card.netdev.feed(LONG)
    await card.receiveq.done(buffer)

    assert header_of(buffer.answer)[-1] == 1
    assert buffer.answer[12:] == LONG


async def test_receive_without_mergeable_buffers_too_long_is_dropped_and_the_buffer_kept(make_card: MakeCard) -> None:
    card = await make_card(F_VERSION_1 | features.MAC)
    small, _ = await card.offer(1526, 1526)

    card.netdev.feed(LONG, UNICAST)
    await card.receiveq.done(small)

    assert small.answer[12:] == UNICAST
    assert card.device.statistics()["received-dropped"] == 1


async def test_receive_longer_than_the_whole_ring_is_dropped(make_card: MakeCard) -> None:
    card = await make_card(start=False)
    await card.driver.start(queue_size=2)
    buffers = await card.offer(1536, 1536)

    card.netdev.feed(LONG, UNICAST)
    await card.receiveq.done(buffers[0])

    assert (buffers[0].answer[12:], card.device.statistics()["received-dropped"]) == (UNICAST, 1)


async def test_receive_unfinished_frame_for_a_driver_that_takes_it_keeps_its_header(card: Card) -> None:
    vnet = VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4, 54, 1448, 34, 16)
    (buffer,) = await card.offer(8192)

    card.netdev.feed(Frame.of(LONG, vnet=vnet))
    await card.receiveq.done(buffer)

    assert header_of(buffer.answer) == (*vnet, 1)


async def test_receive_unfinished_frame_for_a_driver_that_does_not_take_it_is_finished(make_card: MakeCard) -> None:
    card = await make_card(F_VERSION_1 | F_EVENT_IDX | features.MAC)
    (buffer,) = await card.offer(1536)

    card.netdev.feed(Frame.of(UNICAST, vnet=VnetHeader(NEEDS_CHECKSUM, checksum_start=14, checksum_offset=4)))
    await card.receiveq.done(buffer)

    frame = buffer.answer[12:]
    words = [int.from_bytes(frame[index : index + 2], "big") for index in range(14, len(frame), 2)]
    assert header_of(buffer.answer) == (0, 0, 0, 0, 0, 0, 1)
    # The sum takes the place of the pseudo header's, and all of them together are zero.
    assert (sum(words) + int.from_bytes(UNICAST[18:20], "big")) % 0xFFFF == 0


async def test_receive_unfinished_frame_that_is_malformed_is_dropped(make_card: MakeCard) -> None:
    card = await make_card(F_VERSION_1 | features.MAC)
    await card.offer(1536)

    card.netdev.feed(Frame.of(UNICAST, vnet=VnetHeader(NEEDS_CHECKSUM, checksum_start=5000)))

    assert card.device.statistics()["received-dropped"] == 1


async def test_receive_before_the_driver_is_ready_waits(make_card: MakeCard) -> None:
    card = await make_card(start=False)
    card.netdev.feed(UNICAST)
    await card.driver.start()

    (buffer,) = await card.offer(1536)
    await card.receiveq.done(buffer)

    assert buffer.answer[12:] == UNICAST


async def test_receive_while_quiesced_waits_until_resumed(card: Card) -> None:
    (buffer,) = await card.offer(1536)
    await card.device.quiesce()
    card.netdev.feed(UNICAST)
    waiting = len(card.netdev.unsent)

    await card.device.resume()
    await card.receiveq.done(buffer)

    assert (waiting, buffer.answer[12:]) == (1, UNICAST)


@pytest.mark.parametrize("rooms", [[], [11]], ids=["none", "less than a header"])
async def test_receive_buffer_without_room_needs_a_reset(card: Card, rooms: list[int]) -> None:
    card.receiveq.add([] if rooms else [b"readable"], rooms)
    await card.receiveq.kick(always=True)

    card.netdev.feed(UNICAST)
    await card.driver.wait_needs_reset()


async def test_receive_after_needs_reset_and_reset_works(card: Card) -> None:
    card.receiveq.add([b"readable"], [])
    await card.receiveq.kick(always=True)
    card.netdev.feed(UNICAST)
    await card.driver.wait_needs_reset()

    await card.driver.start()
    (buffer,) = await card.offer(1536)
    await card.receiveq.done(buffer)

    assert buffer.answer[12:] == UNICAST
    assert not await card.driver.status() & Status.NEEDS_RESET


# ---- receive_into


def filler(frame: bytes, vnet: VnetHeader = PLAIN) -> tuple[list[int], Fill]:
    """What ``fill`` was given room for, and ``fill``."""
    capacities: list[int] = []

    def fill(buffers: Buffers) -> Filled:
        capacities.append(buffers.nbytes)
        buffers.write(frame)
        return Filled(len(frame), vnet)

    return capacities, fill


async def test_send_into_one_buffer(card: Card) -> None:
    (buffer,) = await card.offer(1536)
    capacities, fill = filler(UNICAST)

    taken = card.netdev.send_into(1500, fill)
    await card.receiveq.done(buffer)

    assert (taken, capacities) == (True, [1524])
    assert header_of(buffer.answer)[-1] == 1
    assert buffer.answer[12:] == UNICAST


async def test_send_into_several_buffers_puts_those_that_were_not_needed_back(card: Card) -> None:
    buffers = await card.offer(*[1536] * 6)
    _, fill = filler(UNICAST)
    _, fill_long = filler(LONG)

    card.netdev.send_into(5500, fill)
    card.netdev.send_into(5500, fill_long)
    await card.receiveq.done(*buffers[:5])

    assert buffers[0].answer[12:] == UNICAST
    assert b"".join(each.answer for each in buffers[1:5])[12:] == LONG
    assert header_of(buffers[1].answer)[-1] == 4


async def test_send_into_without_buffers_is_refused_and_nothing_filled(card: Card) -> None:
    capacities, fill = filler(UNICAST)

    taken = card.netdev.send_into(1500, fill)

    assert (taken, capacities) == (False, [])


async def test_send_into_small_frame_of_large_capacity_needs_no_more_than_it_fills(card: Card) -> None:
    (buffer,) = await card.offer(1536)
    _, fill = filler(UNICAST)

    taken = card.netdev.send_into(65550, fill)
    await card.receiveq.done(buffer)

    assert (taken, buffer.answer[12:]) == (True, UNICAST)


async def test_send_into_long_frame_for_too_few_buffers_comes_late_and_in_order(card: Card) -> None:
    few = await card.offer(1536)
    _, fill = filler(LONG)

    taken = card.netdev.send_into(65550, fill)
    refused = card.netdev.send_into(65550, fill)
    buffers = few + await card.offer(1536, 1536, 1536)
    await card.receiveq.done(*buffers)

    assert (taken, refused) == (True, False)
    assert b"".join(each.answer for each in buffers)[12:] == LONG


async def test_send_into_nothing_filled_uses_no_buffer(card: Card) -> None:
    (buffer,) = await card.offer(1536)

    taken = card.netdev.send_into(1500, lambda buffers: None)
    card.netdev.feed(BROADCAST)
    await card.receiveq.done(buffer)

    assert (taken, buffer.answer[12:]) == (True, BROADCAST)


async def test_send_into_that_raises_uses_no_buffer(card: Card) -> None:
    (buffer,) = await card.offer(1536)

    def fail(buffers: Buffers) -> Filled:
        raise OSError(5, "no")

    with pytest.raises(OSError, match="no"):
        card.netdev.send_into(1500, fail)
    card.netdev.feed(BROADCAST)
    await card.receiveq.done(buffer)

    assert buffer.answer[12:] == BROADCAST


async def test_send_into_frame_that_the_guest_does_not_want_uses_no_buffer(card: Card) -> None:
    await card.command(0, 0, b"\0")
    (buffer,) = await card.offer(1536)
    _, fill = filler(b"\x02" + UNICAST[1:])

    taken = card.netdev.send_into(1500, fill)
    card.netdev.feed(BROADCAST)
    await card.receiveq.done(buffer)

    assert (taken, buffer.answer[12:]) == (True, BROADCAST)
    assert card.device.statistics()["received-filtered"] == 1


async def test_send_into_unfinished_frame_for_a_driver_that_does_not_take_it_is_finished(make_card: MakeCard) -> None:
    card = await make_card(F_VERSION_1 | features.MAC | features.MRG_RXBUF)
    (buffer,) = await card.offer(1536)
    _, fill = filler(UNICAST, VnetHeader(NEEDS_CHECKSUM, checksum_start=14, checksum_offset=4))

    card.netdev.send_into(1500, fill)
    await card.receiveq.done(buffer)

    assert header_of(buffer.answer) == (0, 0, 0, 0, 0, 0, 1)
    assert buffer.answer[12:30] == UNICAST[:18]
