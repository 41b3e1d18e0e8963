# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames out of the guest's buffers: 5.1.6.2."""

from __future__ import annotations

import pytest

from asyncemu.net import Frames, VnetHeader
from asyncemu.net.frame import GSO_TCPV4, MAX_FRAME, NEEDS_CHECKSUM
from asyncemu.virtio.defs import F_INDIRECT_DESC, F_VERSION_1
from asyncemu.virtio.net.transmitter import BATCH
from tests.virtio.net.conftest import BROADCAST, HEADER, PLAIN_HEADER, UNICAST, Card, MakeCard


@pytest.mark.parametrize(
    "parts",
    [
        [PLAIN_HEADER + BROADCAST],
        [PLAIN_HEADER, BROADCAST],
        [PLAIN_HEADER[:5], PLAIN_HEADER[5:] + BROADCAST[:3], BROADCAST[3:]],
        [PLAIN_HEADER + BROADCAST[:20], *[BROADCAST[index : index + 1] for index in range(20, len(BROADCAST))]],
    ],
    ids=["one", "header apart", "header cut", "byte by byte"],
)
async def test_transmit_frame_in_any_layout_arrives_whole(card: Card, parts: list[bytes]) -> None:
    buffer = await card.transmitq.request(parts, [], indirect=True)

    assert card.netdev.frames == [BROADCAST]
    assert buffer.written == 0


async def test_transmit_header_of_a_segment_goes_along(card: Card) -> None:
    frame = UNICAST + bytes(60000)

    await card.transmit(frame, header=HEADER.pack(0xFF, GSO_TCPV4, 54, 1448, 34, 16, 99))

    (received,) = card.netdev.received
    assert received.vnet == VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4, 54, 1448, 34, 16)
    assert received.tobytes() == frame


BAD_HEADERS = {
    "checksum past the end": HEADER.pack(1, 0, 0, 0, len(UNICAST) - 2, 1, 0),
    "offset past the end": HEADER.pack(1, 0, 0, 0, 14, 0xFFFF, 0),
    "segment without size": HEADER.pack(1, GSO_TCPV4, 54, 0, 34, 16, 0),
    "segment without checksum": HEADER.pack(0, GSO_TCPV4, 54, 1448, 34, 16, 0),
    "unknown segment": HEADER.pack(1, 0x7F, 54, 1448, 34, 16, 0),
}


@pytest.mark.parametrize("header", BAD_HEADERS.values(), ids=BAD_HEADERS)
async def test_transmit_header_that_does_not_fit_is_dropped_and_counted(card: Card, header: bytes) -> None:
    await card.transmit(UNICAST, header=header)

    assert card.netdev.received == []
    assert card.device.statistics()["sent-dropped"] == 1


@pytest.mark.parametrize("length", [1, 13, MAX_FRAME + 1])
async def test_transmit_what_is_no_frame_is_dropped_and_counted(card: Card, length: int) -> None:
    await card.transmit(bytes(length))

    assert card.netdev.received == []
    assert card.device.statistics()["sent-dropped"] == 1


@pytest.mark.parametrize("header", [HEADER.pack(1, 0, 0, 0, 34, 16, 0), HEADER.pack(1, GSO_TCPV4, 54, 1448, 34, 16, 0)])
async def test_transmit_unfinished_frame_without_the_features_is_dropped(make_card: MakeCard, header: bytes) -> None:
    card = await make_card(F_VERSION_1)

    await card.transmit(UNICAST, header=header)

    assert card.netdev.received == []


async def test_transmit_less_than_a_header_needs_a_reset(card: Card) -> None:
    card.transmitq.add([bytes(11)], [])
    await card.transmitq.kick()

    await card.driver.wait_needs_reset()


async def test_transmit_to_a_full_peer_keeps_the_buffers_until_it_takes_them(card: Card) -> None:
    card.netdev.room = 1
    frames = [bytes([number]) * 60 for number in range(4)]
    buffers = [card.transmitq.add([PLAIN_HEADER + frame], []) for frame in frames]
    await card.transmitq.kick()
    await card.transmitq.done(buffers[0])
    done = [each.done for each in buffers]

    card.netdev.accept()
    await card.transmitq.done(*buffers)

    assert done == [True, False, False, False]
    assert card.netdev.frames == frames


async def test_transmit_bad_frames_between_good_ones_for_a_slow_peer_keep_the_order(card: Card) -> None:
    card.netdev.room = 0
    good = [bytes([number]) * 60 for number in range(3)]
    buffers = [card.transmitq.add([PLAIN_HEADER + frame], []) for each in good for frame in (b"bad", each)]
    await card.transmitq.kick()
    for _ in good:
        card.netdev.accept(1)
    await card.transmitq.done(*buffers)

    assert card.netdev.frames == good
    assert card.device.statistics()["sent-dropped"] == 3


async def test_transmit_held_frames_stay_in_the_ring_while_quiesced(card: Card) -> None:
    card.netdev.room = 0
    buffer = card.transmitq.add([PLAIN_HEADER + BROADCAST], [])
    await card.transmitq.kick()
    await card.device.quiesce()
    card.netdev.accept()
    meanwhile = list(card.netdev.frames)

    await card.device.resume()
    await card.transmitq.done(buffer)

    assert (meanwhile, card.netdev.frames) == ([], [BROADCAST])


async def test_transmit_held_frames_are_forgotten_by_a_reset(card: Card) -> None:
    card.netdev.room = 0
    card.transmitq.add([PLAIN_HEADER + BROADCAST], [])
    await card.transmitq.kick()

    await card.driver.start()
    card.netdev.accept()
    await card.transmit(UNICAST)

    assert card.netdev.frames == [UNICAST]


async def test_transmit_more_than_a_batch_arrives_in_order(card: Card) -> None:
    frames = [number.to_bytes(4, "big") * 15 for number in range(3 * BATCH)]
    buffers = [card.transmitq.add([PLAIN_HEADER + frame], []) for frame in frames]
    await card.transmitq.kick()
    await card.transmitq.done(*buffers)

    assert card.netdev.frames == frames


async def test_transmit_with_the_cable_out_completes(card: Card) -> None:
    await card.device.set_link(False)

    await card.transmit(BROADCAST)

    assert (card.netdev.received, card.device.statistics()["lost-without-link"]) == ([], 1)


async def test_transmit_back_end_with_a_bug_needs_a_reset(
    card: Card, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def bug(frames: Frames) -> int:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(card.netdev, "receive", bug)
    card.transmitq.add([PLAIN_HEADER + BROADCAST], [])
    await card.transmitq.kick()

    await card.driver.wait_needs_reset()

    assert "a bug" in caplog.text


async def test_transmit_without_event_index_asks_not_to_be_rung_while_it_looks(make_card: MakeCard) -> None:
    card = await make_card(F_VERSION_1 | F_INDIRECT_DESC)
    card.netdev.room = 0
    buffers = [card.transmitq.add([PLAIN_HEADER + BROADCAST], []) for _ in range(2)]
    await card.transmitq.kick()
    card.netdev.accept()
    await card.transmitq.done(*buffers)

    assert card.transmitq.used_flags == 0
    assert len(card.netdev.frames) == 2
