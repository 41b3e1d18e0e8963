# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-mirror."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.loop import AioContext
from asyncemu.net.filters.channel import MAX_WAITING
from asyncemu.net.filters.mirror import Mirror, MirrorOptions
from asyncemu.net.frame import GSO_TCPV4, NEEDS_CHECKSUM, Frame, VnetHeader
from asyncemu.net.framing import FrameDecoder
from asyncemu.testing.memory_chardev import MemoryChardev
from tests.net.filters.conftest import Link
from tests.net.frames import is_whole, numbered, unfinished
from tests.net.peers import framed


@pytest.fixture
async def chardev(context: AioContext) -> MemoryChardev:
    return await MemoryChardev.make(context)


async def test_copies_of_both_directions_go_out(link: Link, chardev: MemoryChardev) -> None:
    await link.add(Mirror, {"outdev": chardev})

    link.netdev.feed(numbered(1))
    link.guest.feed(numbered(2))

    assert chardev.sent == framed(numbered(1), numbered(2))
    assert (link.guest.frames, link.netdev.frames) == ([numbered(1)], [numbered(2)])


async def test_frame_that_is_not_taken_is_mirrored_once(link: Link, chardev: MemoryChardev) -> None:
    await link.add(Mirror, {"outdev": chardev})
    link.guest.room = 0
    link.netdev.feed(numbered(1))

    link.guest.accept()

    assert chardev.sent == framed(numbered(1))


async def test_unfinished_frame_is_finished_for_the_chardev_only(link: Link, chardev: MemoryChardev) -> None:
    await link.add(Mirror, {"outdev": chardev})
    frame = unfinished(bytes(2500))
    decoder = FrameDecoder("test")

    link.guest.feed(frame)
    decoder.feed(chardev.sent)

    sent = [each.tobytes() for each in decoder.frames()]
    assert len(sent) == 3
    assert all(map(is_whole, sent))
    assert link.netdev.received[0].vnet == frame.vnet


async def test_vnet_hdr_support_sends_frames_as_they_are(link: Link, chardev: MemoryChardev) -> None:
    await link.add(Mirror, {"outdev": chardev}, vnet_hdr_support=True)
    frame = unfinished(bytes(2500))
    decoder = FrameDecoder("test", with_headers=True)

    link.guest.feed(frame)
    decoder.feed(chardev.sent)

    (sent,) = decoder.frames()
    assert (sent.tobytes(), sent.vnet) == (frame.tobytes(), frame.vnet)


async def test_slow_chardev_gets_whole_frames_later_and_loses_what_is_too_much(
    link: Link, chardev: MemoryChardev
) -> None:
    mirror = await link.add(Mirror, {"outdev": chardev})
    chardev.limit = 0
    frames = [numbered(number, 60_000) for number in range(MAX_WAITING // 60_000 + 10)]

    link.netdev.feed(*frames)
    dropped = mirror.dropped
    chardev.accept()

    assert 0 < dropped < 10
    assert chardev.sent == framed(*frames[: len(frames) - dropped])
    assert link.guest.frames == frames


async def test_frames_without_a_listener_are_lost(link: Link, chardev: MemoryChardev) -> None:
    await link.add(Mirror, {"outdev": chardev})
    chardev.limit = 30
    link.netdev.feed(numbered(1))
    chardev.event(ChardevEvent.CLOSED)
    chardev.discard_unsent()
    link.netdev.feed(numbered(2))

    chardev.sent = b""
    chardev.limit = None
    chardev.event(ChardevEvent.OPENED)
    link.netdev.feed(numbered(3))

    assert chardev.sent == framed(numbered(3))


async def test_what_the_listener_says_goes_nowhere(link: Link, chardev: MemoryChardev) -> None:
    await link.add(Mirror, {"outdev": chardev})

    chardev.type(framed(numbered(1)) * 1000)

    assert (chardev.untyped, link.guest.received, link.netdev.received) == (b"", [], [])


async def test_header_that_does_not_fit_its_frame_is_dropped(link: Link, chardev: MemoryChardev) -> None:
    mirror = await link.add(Mirror, {"outdev": chardev})

    link.guest.feed(Frame.of(bytes(60), vnet=VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4, 0, 100, 34, 16)))

    assert (mirror.dropped, chardev.sent) == (1, b"")


async def test_chardev_of_somebody_else_is_an_error(link: Link, chardev: MemoryChardev) -> None:
    await link.add(Mirror, {"outdev": chardev})

    with pytest.raises(ValueError, match="chardev 'chardev0' has a front end already"):
        await link.add(Mirror, {"outdev": chardev})


async def test_closed_leaves_the_chardev(link: Link, chardev: MemoryChardev) -> None:
    mirror = await link.add(Mirror, {"outdev": chardev})

    await mirror.close()

    assert chardev.frontend is None


@pytest.mark.parametrize("options", [{}, {"outdev": ""}])
def test_outdev_is_needed(options: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="outdev"):
        MirrorOptions.model_validate({"netdev": "n", **options})
