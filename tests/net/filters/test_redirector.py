# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-redirector."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.loop import AioContext
from asyncemu.net.filters.redirector import Redirector, RedirectorOptions
from asyncemu.net.framing import encode_with_header
from asyncemu.testing.memory_chardev import MemoryChardev
from tests.net.filters.conftest import Link
from tests.net.frames import numbered, unfinished
from tests.net.peers import framed


@pytest.fixture
async def indev(context: AioContext) -> MemoryChardev:
    return await MemoryChardev.make(context, "in")


@pytest.fixture
async def outdev(context: AioContext) -> MemoryChardev:
    return await MemoryChardev.make(context, "out")


async def test_outdev_gets_frames_instead_of_the_receiver(link: Link, outdev: MemoryChardev) -> None:
    await link.add(Redirector, {"outdev": outdev}, queue="rx")

    link.guest.feed(numbered(1))
    link.netdev.feed(numbered(2))

    assert outdev.sent == framed(numbered(1))
    assert (link.netdev.frames, link.guest.frames) == ([], [numbered(2)])


@pytest.mark.parametrize(("queue", "to_guest", "to_netdev"), [("tx", 1, 0), ("rx", 0, 1), ("all", 1, 1)])
async def test_indev_gives_frames_in_the_directions_of_queue(
    link: Link, indev: MemoryChardev, queue: str, to_guest: int, to_netdev: int
) -> None:
    await link.add(Redirector, {"indev": indev}, queue=queue)

    indev.type(framed(numbered(1)))

    assert link.guest.frames == [numbered(1)] * to_guest
    assert link.netdev.frames == [numbered(1)] * to_netdev


async def test_indev_alone_lets_frames_pass(link: Link, indev: MemoryChardev) -> None:
    await link.add(Redirector, {"indev": indev})

    link.guest.feed(numbered(1))

    assert link.netdev.frames == [numbered(1)]


async def test_what_comes_in_meets_the_filters_behind_only(
    link: Link, indev: MemoryChardev, outdev: MemoryChardev, context: AioContext
) -> None:
    await link.add(Redirector, {"outdev": outdev}, queue="tx")
    await link.add(Redirector, {"indev": indev}, queue="tx")

    indev.type(framed(numbered(1)))

    assert (outdev.sent, link.guest.frames) == (b"", [numbered(1)])


async def test_vnet_hdr_support_takes_unfinished_frames(link: Link, indev: MemoryChardev) -> None:
    await link.add(Redirector, {"indev": indev}, queue="tx", vnet_hdr_support=True)
    frame = unfinished(bytes(2500))

    indev.type(b"".join(encode_with_header(frame)))

    assert [(each.tobytes(), each.vnet) for each in link.guest.received] == [(frame.tobytes(), frame.vnet)]


async def test_full_receiver_holds_up_indev(link: Link, indev: MemoryChardev) -> None:
    await link.add(Redirector, {"indev": indev}, queue="tx")
    frames = [numbered(number, 1000) for number in range(1000)]
    link.guest.room = 10

    indev.type(framed(*frames))
    waiting = len(indev.untyped)
    link.guest.accept()

    assert waiting > 500_000
    assert link.guest.frames == frames
    assert indev.untyped == b""


async def test_indev_out_of_step_is_not_listened_to_until_it_comes_anew(
    link: Link, indev: MemoryChardev, caplog: pytest.LogCaptureFixture
) -> None:
    await link.add(Redirector, {"indev": indev}, queue="tx")

    indev.type(framed(numbered(1)) + b"HTTP")
    indev.type(framed(numbered(2)))
    indev.event(ChardevEvent.CLOSED)
    indev.event(ChardevEvent.OPENED)
    indev.type(framed(numbered(3)))

    assert link.guest.frames == [numbered(1), numbered(3)]
    assert caplog.messages == [
        "f0: indev is not listened to any more: in, byte 64: a frame of 1213486160 bytes is longer than 69632"
    ]


async def test_frames_that_come_while_it_is_off_are_lost(link: Link, indev: MemoryChardev) -> None:
    redirector = await link.add(Redirector, {"indev": indev}, queue="tx")
    link.set_status(redirector, False)

    indev.type(framed(numbered(1)))

    assert (link.guest.frames, redirector.dropped) == ([], 1)


async def test_indev_of_somebody_else_gives_outdev_back(
    link: Link, indev: MemoryChardev, outdev: MemoryChardev
) -> None:
    await link.add(Redirector, {"indev": indev})

    with pytest.raises(ValueError, match="chardev 'in' has a front end already"):
        await link.add(Redirector, {"indev": indev, "outdev": outdev})

    assert outdev.frontend is None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "needs indev or outdev, or both"),
        ({"indev": "c", "outdev": "c"}, "indev and outdev are the same chardev"),
    ],
)
def test_options_that_make_no_sense_are_errors(options: dict[str, str], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        RedirectorOptions.model_validate({"netdev": "n", **options})
