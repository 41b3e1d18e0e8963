# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-buffer."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from asyncemu.net.filters.buffer import MAX_BYTES, MAX_FRAMES, Buffer, BufferOptions
from tests.net.filters.conftest import US, Link
from tests.net.frames import numbered


async def test_frames_wait_for_the_end_of_the_interval(link: Link) -> None:
    await link.add(Buffer, interval=100)

    link.netdev.feed(numbered(1))
    link.guest.feed(numbered(2))
    link.time.advance(99 * US)
    early = link.guest.frames + link.netdev.frames
    link.time.advance(1 * US)

    assert early == []
    assert (link.guest.frames, link.netdev.frames) == ([numbered(1)], [numbered(2)])


async def test_each_interval_has_its_frames(link: Link) -> None:
    await link.add(Buffer, interval=100)
    arrived = []
    for number in range(3):
        link.netdev.feed(numbered(number))
        link.time.advance(100 * US)
        arrived.append(len(link.guest.frames))

    assert arrived == [1, 2, 3]


async def test_time_is_the_guests(link: Link) -> None:
    await link.add(Buffer, interval=100)
    link.netdev.feed(numbered(1))

    link.clocks.run_virtual(False)
    link.time.advance(1000 * US)
    stopped = link.guest.frames
    link.clocks.run_virtual(True)
    link.time.advance(100 * US)

    assert (stopped, link.guest.frames) == ([], [numbered(1)])


@pytest.mark.parametrize(("queue", "passed"), [("rx", "guest"), ("tx", "netdev")])
async def test_other_direction_passes(link: Link, queue: str, passed: str) -> None:
    await link.add(Buffer, interval=100, queue=queue)

    link.netdev.feed(numbered(1))
    link.guest.feed(numbered(2))

    arrived = {"guest": link.guest.frames, "netdev": link.netdev.frames}
    assert [name for name, frames in arrived.items() if frames] == [passed]


async def test_full_buffer_leaves_frames_with_the_sender(link: Link) -> None:
    await link.add(Buffer, interval=100)
    frames = [numbered(number) for number in range(MAX_FRAMES + 5)]

    link.netdev.feed(*frames)
    waiting = len(link.netdev.unsent)
    link.time.advance(200 * US)

    assert waiting == 5
    assert link.guest.frames == frames


async def test_full_buffer_counts_bytes_too(link: Link) -> None:
    await link.add(Buffer, interval=100)
    frames = [bytes(60_000)] * (MAX_BYTES // 60_000 + 3)

    link.netdev.feed(*frames)
    waiting = len(link.netdev.unsent)
    link.time.advance(200 * US)

    assert waiting == 3
    assert len(link.guest.received) == len(frames)


async def test_full_receiver_gets_what_is_due_when_it_has_room(link: Link) -> None:
    await link.add(Buffer, interval=100)
    link.guest.room = 1
    link.netdev.feed(numbered(1), numbered(2))
    link.time.advance(100 * US)
    link.netdev.feed(numbered(3))

    link.guest.accept()

    assert link.guest.frames == [numbered(1), numbered(2)]


async def test_switched_off_lets_go_what_waits(link: Link) -> None:
    netfilter = await link.add(Buffer, interval=100)
    link.netdev.feed(numbered(1))

    link.set_status(netfilter, False)
    link.netdev.feed(numbered(2))

    assert link.guest.frames == [numbered(1), numbered(2)]


async def test_switched_off_loses_what_nobody_takes(link: Link) -> None:
    netfilter = await link.add(Buffer, interval=100)
    link.guest.room = 0
    link.netdev.feed(numbered(1))

    link.set_status(netfilter, False)

    assert netfilter.lost == 1


async def test_switched_on_again_begins_anew(link: Link) -> None:
    netfilter = await link.add(Buffer, interval=100)
    link.set_status(netfilter, False)
    link.time.advance(50 * US)
    link.set_status(netfilter, True)

    link.netdev.feed(numbered(1))
    link.time.advance(99 * US)
    early = link.guest.frames
    link.time.advance(1 * US)

    assert (early, link.guest.frames) == ([], [numbered(1)])


@pytest.mark.parametrize("options", [{}, {"interval": 0}])
def test_interval_is_needed(options: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="interval"):
        BufferOptions.model_validate({"netdev": "n", **options})
