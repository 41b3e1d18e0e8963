# SPDX-License-Identifier: GPL-2.0-or-later
"""TrackedRequests: who waits for whom."""

from __future__ import annotations

import asyncio
import errno

import pytest

from asyncemu.block.tracked import TO_INFINITY, TrackedRequests
from asyncemu.coroutines import start
from asyncemu.loop import AioContext


async def test_requests_that_are_not_serialising_do_not_wait(context: AioContext) -> None:
    tracked = TrackedRequests()
    tracked.begin(0, 512)
    waiting = start(context, tracked.wait(tracked.begin(0, 512)))
    assert waiting.done()


@pytest.mark.parametrize(("first_serialises", "second_serialises"), [(True, False), (False, True), (True, True)])
async def test_overlap_with_a_serialising_one_the_later_waits(
    context: AioContext, first_serialises: bool, second_serialises: bool
) -> None:
    tracked = TrackedRequests()
    first = tracked.begin(0, 512, first_serialises)
    second = tracked.begin(511, 1024, second_serialises)
    waits = start(context, tracked.wait(second))
    does_not = start(context, tracked.wait(first))
    assert (waits.done(), does_not.done()) == (False, True)
    tracked.end(first)
    await waits


@pytest.mark.parametrize(("start_", "end"), [(512, 1024), (0, 0)])
async def test_no_common_byte_nobody_waits(context: AioContext, start_: int, end: int) -> None:
    tracked = TrackedRequests()
    tracked.begin(0, 512, serialising=True)
    waiting = start(context, tracked.wait(tracked.begin(start_, end, serialising=True)))
    assert waiting.done()


async def test_to_infinity_is_behind_every_byte(context: AioContext) -> None:
    tracked = TrackedRequests()
    first = tracked.begin(512, TO_INFINITY, serialising=True)
    below = start(context, tracked.wait(tracked.begin(0, 512)))
    above = start(context, tracked.wait(tracked.begin(1 << 62, (1 << 62) + 1)))
    assert (below.done(), above.done()) == (True, False)
    tracked.end(first)
    await above


async def test_waiting_for_several_ends_with_the_last(context: AioContext) -> None:
    tracked = TrackedRequests()
    before = [tracked.begin(0, 512) for _ in range(3)]
    waiting = start(context, tracked.wait(tracked.begin(0, 512, serialising=True)))
    for request in reversed(before):
        assert not waiting.done()
        tracked.end(request)
    await waiting


async def test_several_waiters_all_go_on(context: AioContext) -> None:
    tracked = TrackedRequests()
    first = tracked.begin(0, 512, serialising=True)
    waiting = [start(context, tracked.wait(tracked.begin(0, 1))) for _ in range(3)]
    tracked.end(first)
    for each in waiting:
        await each


async def test_waiter_cancelled_leaves_the_others_waiting(context: AioContext) -> None:
    tracked = TrackedRequests()
    first = tracked.begin(0, 512, serialising=True)
    one, other = [start(context, tracked.wait(tracked.begin(0, 1))) for _ in range(2)]
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    assert not other.done()
    tracked.end(first)
    await other


async def test_no_wait_raises_ebusy(context: AioContext) -> None:
    tracked = TrackedRequests()
    tracked.begin(0, 512)
    with pytest.raises(OSError, match="Device or resource busy") as caught:
        await tracked.wait(tracked.begin(0, 512, serialising=True), no_wait=True)
    assert caught.value.errno == errno.EBUSY


async def test_serialising_count_is_zero_at_the_end(context: AioContext) -> None:
    tracked = TrackedRequests()
    requests = [tracked.begin(0, 1, serialising=bool(index % 2)) for index in range(4)]
    during = tracked.serialising
    for request in requests:
        tracked.end(request)
    assert (during, tracked.serialising, tracked.in_order) == (2, 0, {})
