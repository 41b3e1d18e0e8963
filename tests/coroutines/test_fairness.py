# SPDX-License-Identifier: GPL-2.0-or-later
"""Each lock is FIFO over all contexts, cancellations included: seeded simulations over three threads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asyncemu.coroutines import CoMutex, CoQueue, Coroutine, CoRwlock, SharedResource, coroutine_self, start
from asyncemu.loop import AioContext
from tests.coroutines.conftest import Contexts, ends
from tests.coroutines.recorder import Recorder, recorded

SEEDS = range(5)
STEPS = 60

Visit = Callable[[random.Random, Recorder], Awaitable[None]]


def mutex_visit(mutex: CoMutex) -> Visit:
    async def visit(dice: random.Random, recorder: Recorder) -> None:
        async with mutex:
            recorder.got()
            await asyncio.sleep(0) if dice.random() < 0.5 else None

    return visit


def rwlock_visit(lock: CoRwlock) -> Visit:
    async def visit(dice: random.Random, recorder: Recorder) -> None:
        async with lock.reading() if dice.random() < 0.6 else lock.writing():
            recorder.got()
            await asyncio.sleep(0) if dice.random() < 0.5 else None

    return visit


def resource_visit(resource: SharedResource) -> Visit:
    """All of it or none: as a mutex, so that the order is seen."""

    async def visit(dice: random.Random, recorder: Recorder) -> None:
        async with resource.share(resource.total):
            recorder.got()
            await asyncio.sleep(0) if dice.random() < 0.5 else None

    return visit


def mutex() -> tuple[Visit, Recorder]:
    lock, recorder = recorded(CoMutex())
    return mutex_visit(lock), recorder


def rwlock() -> tuple[Visit, Recorder]:
    lock, recorder = recorded(CoRwlock())
    return rwlock_visit(lock), recorder


def resource() -> tuple[Visit, Recorder]:
    lock, recorder = recorded(SharedResource(3))
    return resource_visit(lock), recorder


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [mutex, rwlock, resource])
async def test_lock_is_granted_in_the_order_of_arrival(
    context: AioContext, threads: Contexts, kind: Callable[[], tuple[Visit, Recorder]], seed: int
) -> None:
    contexts = [context, *await threads(2)]
    visit, recorder = kind()
    begun: list[Coroutine[Any] | None] = []

    async def body(dice: random.Random) -> None:
        begun.append(coroutine_self())
        for _ in range(STEPS):
            try:
                other = dice.choice(begun)
                if other is not None and dice.random() < 0.2:
                    other.cancel()
                await visit(dice, recorder)
                await asyncio.sleep(0) if dice.random() < 0.3 else None
            except asyncio.CancelledError:
                recorder.gave_up()

    coroutines = [Coroutine(each, body(random.Random(f"{seed} {n}"))) for n, each in enumerate(contexts * 4)]
    for coroutine in coroutines:
        coroutine.schedule(coroutine.context)
    await ends(coroutines)

    assert recorder.granted() == recorder.arrived()
    assert len(recorder.granted()) > 10


@pytest.mark.parametrize("seed", SEEDS)
async def test_queue_in_one_context_wakes_in_the_order_of_a_list(context: AioContext, seed: int) -> None:
    """Against the obvious model: a list, from which a cancelled one is taken."""
    dice = random.Random(seed)
    queue = CoQueue()
    waiting: list[Coroutine[Any]] = []
    expected: list[Coroutine[Any]] = []
    woken: list[Coroutine[Any]] = []

    for _ in range(300):
        match dice.choice(["wait", "wait", "front", "next", "all", "cancel", "turn"]):
            case "wait":
                waiting.append(start(context, queue.wait(), woken.append))
            case "front":
                waiting.insert(0, start(context, queue.wait(front=True), woken.append))
            case "next":
                assert queue.next() == bool(waiting)
                expected.extend(waiting[:1])
                del waiting[:1]
            case "all":
                queue.restart_all()
                expected.extend(waiting)
                waiting.clear()
            case "cancel" if waiting:
                gone = waiting.pop(dice.randrange(len(waiting)))
                gone.cancel()
                while not gone.done():
                    await asyncio.sleep(0)
            case _:
                await asyncio.sleep(0)
    queue.restart_all()
    expected.extend(waiting)
    await ends(expected)

    assert [each for each in woken if each.error is None] == expected
