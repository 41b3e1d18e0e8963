# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hundred coroutines move among five contexts under load, and lock, wait, sleep and cancel each other.

Asserted: nobody is in two threads, every wake-up arrives (all end), what a lock guards is exact, all locks are FIFO.
The choices are a seed's, which is in the test's name; the threads' interleaving is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from asyncemu.coroutines import (
    CoMutex,
    CoQueue,
    Coroutine,
    CoRwlock,
    co_sleep_ns,
    coroutine_self,
    reschedule_self,
)
from asyncemu.loop import AioContext, Clocks, current_context
from tests.coroutines.conftest import Contexts, ends
from tests.coroutines.recorder import Recorder, recorded

CONTEXTS = 5
COROUTINES = 200

#: When the time is up all end within this; seconds, for a machine under load.
PATIENCE = 60


class World:
    """What they share."""

    def __init__(self, contexts: list[AioContext], seed: int) -> None:
        self.contexts = contexts
        self.seed = seed
        self.stop = False
        self.clocks = Clocks()
        self.wrong: list[str] = []
        self.mutex, self.mutex_record = recorded(CoMutex())
        self.counter = 0
        self.lock, self.lock_record = recorded(CoRwlock())
        self.left = self.right = 0
        self.queue, self.queue_mutex = CoQueue(), CoMutex()
        self.items: list[int] = []
        #: Those that may be cancelled: one that has not begun would never begin.
        self.begun: list[Coroutine[Any]] = []
        self.inhabitants = [Inhabitant(self, number) for number in range(COROUTINES)]
        self.coroutines: list[Coroutine[None]] = [
            Coroutine(contexts[number % CONTEXTS], each.live()) for number, each in enumerate(self.inhabitants)
        ]

    async def run(self, seconds: float) -> Counter[str]:
        """Until the time is up and all have ended; how often each of them did what."""
        for coroutine in self.coroutines:
            coroutine.schedule(coroutine.context)
        asyncio.get_running_loop().call_later(seconds, self._end)
        try:
            async with asyncio.timeout(seconds + PATIENCE):
                await ends(self.coroutines)
        except TimeoutError:
            left = [inhabitant.doing for inhabitant in self.inhabitants if inhabitant.doing != "ended"]
            pytest.fail(f"seed {self.seed}: {len(left)} have not ended: {left}")
        return sum((inhabitant.did for inhabitant in self.inhabitants), Counter())

    def _end(self) -> None:
        self.stop = True


class Inhabitant:
    """One coroutine's life."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.dice = random.Random(f"{world.seed} {number}")
        self.did: Counter[str] = Counter()
        self.doing = ""

    async def live(self) -> None:
        this = coroutine_self()
        assert this is not None
        self.world.begun.append(this)
        acts = [self.move, self.count, self.read, self.write, self.upgrade, self.put, self.get, self.sleep, self.cancel]
        while not self.world.stop:
            act = self.dice.choice(acts)
            self.doing = act.__name__
            try:
                await act()
                self.did[self.doing] += 1
            except asyncio.CancelledError:
                self.did["cancelled"] += 1
            self.check()
        # For those that wait for an item.
        self.world.queue.restart_all()
        self.doing = "ended"

    def check(self) -> None:
        """Where it should be?"""
        this = coroutine_self()
        if this is None or this.context is not current_context() or not this.context.in_home():
            self.world.wrong.append(f"{this!r} runs in {threading.current_thread().name} after {self.doing}")

    async def pause(self) -> None:
        """A suspension, or none."""
        if self.dice.random() < 0.5:
            await asyncio.sleep(0)

    async def move(self) -> None:
        target = self.dice.choice(self.world.contexts)
        await reschedule_self(target)
        assert current_context() is target

    async def sleep(self) -> None:
        await co_sleep_ns(self.world.clocks.realtime, self.dice.randrange(100_000))

    async def cancel(self) -> None:
        self.dice.choice(self.world.begun).cancel()

    async def count(self) -> None:
        async with waiting(self.world.mutex_record, self.world.mutex):
            before = self.world.counter
            with contextlib.suppress(asyncio.CancelledError):
                await self.pause()
            self.world.counter = before + 1
            self.did["counted"] += 1

    async def read(self) -> None:
        async with waiting(self.world.lock_record, self.world.lock.reading()):
            self.compare()
            await self.pause()
            self.compare()

    async def write(self) -> None:
        async with waiting(self.world.lock_record, self.world.lock.writing()):
            await self.add()
            if self.dice.random() < 0.3:
                await self.world.lock.downgrade()
                await self.pause()
                self.compare()

    async def upgrade(self) -> None:
        async with waiting(self.world.lock_record, self.world.lock.reading()):
            await self.pause()
            try:
                await self.world.lock.upgrade()
            except asyncio.CancelledError:
                self.world.lock_record.gave_up()
                self.compare()
                raise
            self.world.lock_record.got()
            await self.add()

    def compare(self) -> None:
        """As a reader: nobody is writing."""
        left, right = self.world.left, self.world.right
        if left != right:
            self.world.wrong.append(f"read {left} and {right}")

    async def add(self) -> None:
        """As the writer."""
        self.compare()
        self.world.left += 1
        with contextlib.suppress(asyncio.CancelledError):
            await self.pause()
        self.world.right += 1
        self.did["added"] += 1

    async def put(self) -> None:
        async with self.world.queue_mutex:
            self.world.items.append(1)
            self.did["produced"] += 1
            self.world.queue.next()

    async def get(self) -> None:
        async with self.world.queue_mutex:
            while not self.world.items and not self.world.stop:
                await self.world.queue.wait(self.world.queue_mutex)
            if self.world.items:
                self.world.items.pop()
                self.did["consumed"] += 1


@contextlib.asynccontextmanager
async def waiting(record: Recorder, lock: Any) -> AsyncIterator[None]:
    """``async with lock``, on record."""
    try:
        await lock.__aenter__()
    except asyncio.CancelledError:
        record.gave_up()
        raise
    record.got()
    try:
        yield
    finally:
        await lock.__aexit__(None, None, None)


async def stress(contexts: list[AioContext], seed: int, seconds: float) -> Counter[str]:
    """Run a world and judge it."""
    world = World(contexts, seed)
    did = await world.run(seconds)
    assert world.wrong == []
    assert (world.counter, world.left, world.right) == (did["counted"], did["added"], did["added"])
    assert did["produced"] == did["consumed"] + len(world.items)
    assert world.mutex_record.granted() == world.mutex_record.arrived()
    assert world.lock_record.granted() == world.lock_record.arrived()
    return did


@pytest.fixture
def load() -> Iterator[None]:
    """Others want the processors, too."""
    if shutil.which("stress-ng"):
        commands = [["stress-ng", "--quiet", "--cpu", "2"]]
    else:
        commands = [[sys.executable, "-c", "while True: pass"]] * 2
    processes = [subprocess.Popen(command) for command in commands]
    yield
    for process in processes:
        process.terminate()
        process.wait()


@pytest.mark.slow
async def test_stress_for_a_second(threads: Contexts) -> None:
    did = await stress(await threads(CONTEXTS), seed=1, seconds=1)

    assert min(did.values()) > 0
    assert len(did) == 14


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_stress_for_ten_seconds_under_load(threads: Contexts, load: None, seed: int) -> None:
    did = await stress(await threads(CONTEXTS), seed, seconds=10)

    assert min(did.values()) > 0
