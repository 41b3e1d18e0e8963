# SPDX-License-Identifier: GPL-2.0-or-later
"""The card as a whole: configuration space, link, life."""

from __future__ import annotations

import pytest

from asyncemu.errors import AsyncemuError
from asyncemu.loop import IOThread
from asyncemu.testing import DeviceBench
from asyncemu.virtio.defs import F_VERSION_1
from asyncemu.virtio.net import features
from asyncemu.virtio.net.config import LINK_UP, SPEED_UNKNOWN
from tests.virtio.net.conftest import BROADCAST, MAC, UNICAST, MakeCard


async def test_config_by_default(make_card: MakeCard) -> None:
    config = await (await make_card()).config()

    assert bytes(config.mac) == MAC
    assert (config.status, config.max_virtqueue_pairs, config.mtu) == (LINK_UP, 1, 0)
    assert (config.speed, config.duplex) == (SPEED_UNKNOWN, 0xFF)


async def test_config_by_options(make_card: MakeCard) -> None:
    card = await make_card(mac="02-00-00-00-00-01", host_mtu=9000, speed=10000, duplex="full", queues=3)
    config = await card.config()

    assert bytes(config.mac) == b"\2\0\0\0\0\1"
    assert (config.max_virtqueue_pairs, config.mtu, config.speed, config.duplex) == (3, 9000, 10000, 1)


async def test_mac_of_the_second_card_is_the_next_one_that_is_free(make_card: MakeCard) -> None:
    first = await make_card(mac="52:54:00:12:34:57")
    others = [await make_card() for _ in range(2)]

    macs = [bytes((await card.config()).mac)[-1] for card in (first, *others)]
    assert macs == [0x57, 0x56, 0x58]


async def test_queue_sizes_by_options(make_card: MakeCard) -> None:
    card = await make_card(rx_queue_size=512, tx_queue_size=1024)

    assert [await card.driver.max_queue_size(index) for index in range(4)] == [512, 1024, 64, 0]


async def test_no_control_queue_without_the_option(make_card: MakeCard) -> None:
    card = await make_card(ctrl_vq=False)

    assert await card.driver.max_queue_size(2) == 0
    assert not card.driver.features & features.CTRL_RX


async def test_offered_features_depend_on_the_peer(make_card: MakeCard) -> None:
    card = await make_card(vnet_hdr=False)

    assert not card.driver.features & (features.CSUM | features.GUEST_CSUM)


@pytest.mark.parametrize("at", ["device", "netdev"])
async def test_link_down_and_up_is_shown_with_an_interrupt(make_card: MakeCard, at: str) -> None:
    card = await make_card()
    states = []
    for up in (False, True):
        changes = card.driver.config_changes
        if at == "device":
            await card.device.set_link(up)
        else:
            card.netdev.set_link(up)
        await card.driver.interrupts_until(lambda changes=changes: card.driver.config_changes > changes)  # type: ignore[misc]
        states.append((await card.config()).status)

    assert states == [0, LINK_UP]
    assert card.netdev.carriers == [True, False, True]


async def test_frames_without_a_link_are_lost(make_card: MakeCard) -> None:
    card = await make_card()
    (buffer,) = await card.offer(1536)
    card.netdev.set_link(False)
    card.netdev.feed(UNICAST)
    card.netdev.set_link(True)

    card.netdev.feed(BROADCAST)
    await card.receiveq.done(buffer)

    assert buffer.answer[12:] == BROADCAST


async def test_announce_without_the_feature_sends_the_frame_only(make_card: MakeCard) -> None:
    card = await make_card(F_VERSION_1)

    card.device.announce()

    assert card.netdev.frames[0][12:14] == b"\x80\x35"
    assert card.device.config.status == LINK_UP


async def test_move_is_refused_and_the_card_goes_on(make_card: MakeCard, bench: DeviceBench) -> None:
    card = await make_card()
    iothread = IOThread(bench.context, "io0")
    await iothread.start()
    try:
        with pytest.raises(AsyncemuError, match="virtio-net0: can't move to io0, as netdevs can't"):
            await bench.slots[0].move(iothread.aio_context)
    finally:
        await iothread.stop()

    await card.transmit(BROADCAST)
    assert card.netdev.frames == [BROADCAST]


async def test_unrealize_unplugs_the_cable_and_gives_the_address_back(make_card: MakeCard) -> None:
    card = await make_card()

    await card.device.unrealize()
    another = await make_card()

    assert card.netdev.peer is None
    assert bytes((await another.config()).mac) == MAC


async def test_statistics_count_what_went_by(make_card: MakeCard) -> None:
    card = await make_card()
    (buffer,) = await card.offer(1536)
    card.netdev.feed(UNICAST)
    await card.receiveq.done(buffer)
    await card.transmit(BROADCAST)

    assert card.device.statistics() == {
        "received": 1,
        "received-filtered": 0,
        "received-dropped": 0,
        "sent": 1,
        "sent-dropped": 0,
        "lost-without-link": 0,
    }
