# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-netem."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from asyncemu.loop import AioContext
from asyncemu.net.filters import netem as module
from asyncemu.net.filters.netem import Netem, NetemOptions
from asyncemu.net.frame import GSO_TCPV4, NEEDS_CHECKSUM, Frame, VnetHeader
from tests.net.filters.conftest import US, Link
from tests.net.frames import is_whole, numbered, unfinished

MANY = 2000


def numbers(frames: list[bytes]) -> list[int]:
    return [int.from_bytes(frame[14:18], "big") for frame in frames]


async def sent_through(link: Link, count: int = MANY, **options: Any) -> list[int]:
    """Which of ``count`` frames arrive at the guest, one a millisecond, and in which order."""
    await link.add(Netem, **options)
    for number in range(count):
        link.netdev.feed(numbered(number))
        link.time.advance(1000 * US)
    link.time.advance(10_000_000 * US)
    return numbers(link.guest.frames)


async def test_good_link_passes_all_at_once(link: Link) -> None:
    await link.add(Netem)

    link.netdev.feed(numbered(1))
    link.guest.feed(numbered(2))

    assert (link.guest.frames, link.netdev.frames) == ([numbered(1)], [numbered(2)])


async def test_delay_is_that_of_each_frame(link: Link) -> None:
    await link.add(Netem, delay=1000)
    link.netdev.feed(numbered(1))
    link.time.advance(500 * US)
    link.netdev.feed(numbered(2))
    arrived = []
    for _ in range(3):
        link.time.advance(499 * US)
        arrived.append(len(link.guest.frames))
        link.time.advance(1 * US)
        arrived.append(len(link.guest.frames))

    assert arrived == [0, 1, 1, 2, 2, 2]


async def test_jitter_is_around_delay(link: Link) -> None:
    await link.add(Netem, delay=1000, jitter=400)
    for number in range(100):
        link.netdev.feed(numbered(number))
    link.time.advance(599 * US)
    early = len(link.guest.frames)
    link.time.advance(401 * US)
    half = len(link.guest.frames)
    link.time.advance(401 * US)

    assert early == 0
    assert 25 < half < 75
    assert sorted(numbers(link.guest.frames)) == list(range(100))


async def test_loss_is_about_that_share(link: Link) -> None:
    arrived = await sent_through(link, loss=10)

    assert 0.87 < len(arrived) / MANY < 0.93
    assert arrived == sorted(arrived)


async def test_loss_of_all_is_all(link: Link) -> None:
    assert await sent_through(link, 50, loss=100) == []


async def test_duplicate_comes_twice_in_a_row(link: Link) -> None:
    arrived = await sent_through(link, duplicate=10)

    assert 1.07 < len(arrived) / MANY < 1.13
    assert arrived == sorted(arrived)
    assert set(arrived) == set(range(MANY))


async def test_corrupt_has_one_bit_that_is_wrong(link: Link) -> None:
    netem = await link.add(Netem, corrupt=100)

    link.netdev.feed(bytes(60))

    assert sum(byte.bit_count() for byte in link.guest.frames[0]) == 1
    assert netem.corrupted == 1


async def test_reorder_lets_some_overtake(link: Link) -> None:
    arrived = await sent_through(link, delay=2500, reorder=10)

    assert sorted(arrived) == list(range(MANY))
    overtaken = sum(later < earlier for earlier, later in pairwise(arrived))
    assert 0.06 < overtaken / MANY < 0.13


async def test_rate_is_kept(link: Link) -> None:
    # 1000 bytes are 8 ms at 1 Mbit/s.
    await link.add(Netem, rate=1_000_000)
    arrived = []
    link.netdev.feed(*(numbered(number, 1000) for number in range(3)))
    for _ in range(5):
        arrived.append(len(link.guest.frames))
        link.time.advance(8000 * US)

    assert arrived == [0, 1, 2, 3, 3]


async def test_rate_and_delay_add_up(link: Link) -> None:
    await link.add(Netem, rate=1_000_000, delay=100)

    link.netdev.feed(numbered(1, 1000))
    link.time.advance(8099 * US)
    early = len(link.guest.frames)
    link.time.advance(1 * US)

    assert (early, len(link.guest.frames)) == (0, 1)


async def test_frame_that_found_no_room_takes_no_time(link: Link) -> None:
    await link.add(Netem, rate=1_000_000, limit=2)
    link.netdev.feed(*(numbered(number, 1000) for number in range(10)))
    link.time.advance(16_000 * US)

    link.netdev.feed(numbered(99, 1000))
    link.time.advance(8000 * US)

    assert numbers(link.guest.frames) == [0, 1, 99]


async def test_limit_is_kept(link: Link) -> None:
    netem = await link.add(Netem, delay=1000, limit=5)

    link.netdev.feed(*map(numbered, range(8)))
    link.time.advance(1000 * US)

    assert numbers(link.guest.frames) == [0, 1, 2, 3, 4]
    assert netem.overflowed == 3


async def test_bytes_are_bounded(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 3000)
    netem = await link.add(Netem, delay=1000)

    link.netdev.feed(*(numbered(number, 1000) for number in range(5)))

    assert netem.overflowed == 2


async def test_same_seed_has_the_same_fate_and_another_has_not(context: AioContext) -> None:
    options = {"loss": 20, "duplicate": 20, "delay": 3000, "jitter": 3000, "reorder": 5}
    fates = [await sent_through(Link(context), 200, seed=seed, **options) for seed in (1, 1, 2)]

    assert fates[0] == fates[1] != fates[2]


async def test_directions_have_dice_of_their_own(link: Link) -> None:
    await link.add(Netem, loss=50)
    frames = list(map(numbered, range(200)))

    link.netdev.feed(*frames)
    link.guest.feed(*frames)

    assert link.guest.frames != link.netdev.frames


async def test_fates_do_not_depend_on_other_options(context: AioContext) -> None:
    arrived = [await sent_through(Link(context), 200, loss=20, **more) for more in ({}, {"corrupt": 50})]

    assert len(arrived[0]) == len(arrived[1])


async def test_segment_is_cut_so_that_each_packet_has_its_fate(link: Link) -> None:
    await link.add(Netem, loss=20)

    link.guest.feed(unfinished(bytes(50_000)))

    assert 25 < len(link.netdev.frames) < 50
    assert all(map(is_whole, link.netdev.frames))


async def test_header_that_does_not_fit_its_frame_is_a_loss(link: Link) -> None:
    netem = await link.add(Netem)

    link.guest.feed(Frame.of(bytes(60), vnet=VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4, 0, 100, 34, 16)))

    assert (netem.lost, link.netdev.frames) == (1, [])


async def test_full_receiver_gets_what_is_due_when_it_has_room(link: Link) -> None:
    await link.add(Netem, delay=1000)
    link.guest.room = 1
    link.netdev.feed(*map(numbered, range(3)))
    link.time.advance(1000 * US)

    link.guest.accept()

    assert numbers(link.guest.frames) == [0, 1, 2]


async def test_switched_off_lets_go_what_is_late(link: Link) -> None:
    netem = await link.add(Netem, delay=1000)
    link.netdev.feed(*map(numbered, range(3)))

    link.set_status(netem, False)
    link.netdev.feed(numbered(3))

    assert numbers(link.guest.frames) == [0, 1, 2, 3]


async def test_time_is_the_guests(link: Link) -> None:
    await link.add(Netem, delay=1000)
    link.netdev.feed(numbered(1))

    link.clocks.run_virtual(False)
    link.time.advance(5000 * US)

    assert link.guest.frames == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"reorder": 5}, "reorder needs delay"),
        ({"loss": 101}, "loss"),
        ({"delay": -1}, "delay"),
    ],
)
def test_options_that_make_no_sense_are_errors(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        NetemOptions.model_validate({"netdev": "n", **options})
