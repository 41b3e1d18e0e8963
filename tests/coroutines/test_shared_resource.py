# SPDX-License-Identifier: GPL-2.0-or-later
"""SharedResource: so many units for all, in the order of arrival."""

from __future__ import annotations

import asyncio

import pytest

from asyncemu.coroutines import Coroutine, SharedResource, start
from asyncemu.loop import AioContext
from tests.coroutines.conftest import Contexts, ends, rounds

pytestmark = pytest.mark.both_loops


async def takes(resource: SharedResource, units: int, log: list[int]) -> None:
    async with resource.share(units):
        log.append(units)


async def test_get_there_is_enough_returns_in_place(context: AioContext) -> None:
    resource = SharedResource(10)

    coroutine = start(context, takes(resource, 10, []))

    assert (coroutine.done(), resource.available) == (True, 10)


async def test_get_waits_in_the_order_of_arrival_however_little_it_wants(context: AioContext) -> None:
    resource, log = SharedResource(10), list[int]()
    await resource.get(5)

    coroutines = [start(context, takes(resource, units, log)) for units in (6, 1)]
    await rounds(2)
    before = list(log)
    resource.put(5)
    await ends(coroutines)

    assert (before, log, resource.available) == ([], [6, 1], 10)


async def test_put_lets_all_in_for_whom_there_is_room(context: AioContext) -> None:
    resource, log = SharedResource(10), list[int]()
    await resource.get(10)
    coroutines = [start(context, takes(resource, units, log)) for units in (2, 3, 9)]

    resource.put(5)
    await rounds(3)
    before = list(log)
    resource.put(5)
    await ends(coroutines)

    assert (before, log) == ([2, 3], [2, 3, 9])


async def test_cancel_waiting_lets_those_behind_it_in(context: AioContext) -> None:
    resource, log = SharedResource(10), list[int]()
    await resource.get(5)
    first, second = (start(context, takes(resource, units, log)) for units in (6, 1))

    first.cancel()
    await second

    assert (log, resource.available) == ([1], 5)


async def test_cancel_admitted_and_not_gone_on_gives_back(context: AioContext) -> None:
    resource, log = SharedResource(10), list[int]()
    await resource.get(5)
    coroutine = start(context, takes(resource, 6, log))

    resource.put(5)
    coroutine.cancel()
    await rounds(3)

    assert (log, resource.available) == ([], 10)


async def test_try_get_does_not_overtake(context: AioContext) -> None:
    resource = SharedResource(10)
    answers = [resource.try_get(5), resource.try_get(6)]
    waiter = start(context, takes(resource, 6, []))
    answers.append(resource.try_get(1))
    resource.put(5)
    await waiter
    answers.append(resource.try_get(1))

    assert answers == [True, False, False, True]


@pytest.mark.parametrize("units", [11, -1])
async def test_get_more_than_there_ever_are_is_refused(context: AioContext, units: int) -> None:
    message = f"{units} units are asked for, of 10"

    with pytest.raises(ValueError, match=message):
        await SharedResource(10).get(units)
    with pytest.raises(ValueError, match=message):
        SharedResource(10).try_get(units)


async def test_put_more_than_were_taken_is_refused(context: AioContext) -> None:
    resource = SharedResource(10)
    await resource.get(1)

    with pytest.raises(ValueError, match="2 units are put back to 9 of 10"):
        resource.put(2)


async def test_share_over_contexts_never_exceeds_the_total(context: AioContext, threads: Contexts) -> None:
    resource = SharedResource(10)
    taken: list[int] = []
    most: list[int] = []

    async def body(number: int) -> None:
        for step in range(200):
            units = 1 + (step * 7 + number) % 10
            async with resource.share(units):
                taken.append(units)
                most.append(sum(list(taken)))
                if step % 3 == 0:
                    await asyncio.sleep(0)
                taken.remove(units)

    contexts = [context, *await threads(2)]
    coroutines = [Coroutine(each, body(number)) for number, each in enumerate(contexts * 2)]
    for coroutine in coroutines:
        coroutine.schedule(coroutine.context)
    await ends(coroutines)

    assert (len(most), max(most) <= 10, resource.available) == (1200, True, 10)
