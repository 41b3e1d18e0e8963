# SPDX-License-Identifier: GPL-2.0-or-later
"""seeded_schedules: run a test under many orders of wake-ups, each from a seed, to find races.

    @seeded_schedules(200)
    async def test_two_writers_never_mix() -> None:
        async with DeviceBench() as bench:
            ...

runs the test 200 times, each time on a fresh SeededLoop. When a seed fails, the error says which it was, and

    ASYNCEMU_SCHEDULE=17 pytest test_mine.py

runs that one alone. The decorated test is a plain function for pytest: its fixtures may not be async ones.

What is free, and so is put into an order that the seed decides:

- steps of coroutines that wait to go on, asyncio's tasks and asyncemu's Coroutines alike: any order, each at any place
  between the other callbacks, and up to MAX_HELD rounds of the loop late;
- the bottom halves of one round;
- handlers of descriptors that became ready together;
- timers of one clock with the same deadline.

What docs/event-model.md and asyncio promise stays:

- callbacks of call_soon run in the order in which they were registered, among themselves;
- what a bottom half schedules is in the next round, and a round is never late: what a handler or timer has scheduled
  runs before the next handlers and timers;
- handlers run behind what was ready before them; timers in the order of their deadlines, clock by clock;
- locks are handed on in the order in which they were asked for, posted writes are done in order.

A test that passes under every order does not depend on what is not promised. Other threads (an IOThread, the pool, the
vCPU of an MmioBus) are as fast as they are: the order on this loop is replayed, and theirs is not.

How. asyncio's own loop keeps what is ready in ``_ready`` and does one round in ``_run_once``; CPython 3.11 to 3.14 have
both, and the constructor looks. Before each round SeededLoop reorders ``_ready``. It keeps some steps out of it for a
round, but never all of it, so that the loop does not fall asleep over them.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, ParamSpec

from asyncemu import coroutines
from asyncemu.loop import timer
from asyncemu.loop.bottom_half_queue import BottomHalfQueue

Parameters = ParamSpec("Parameters")

#: Rounds that a step is late at most (arbitrary; three tasks can overtake each other twice).
MAX_HELD: Final = 3
#: How likely a step is late (arbitrary).
LIKELIHOOD_HELD: Final = 0.25
#: Names the one seed that is to be run.
VARIABLE: Final = "ASYNCEMU_SCHEDULE"


class SeededLoop(asyncio.SelectorEventLoop):
    """A loop whose free choices are made by ``seed``. See the module's head."""

    _ready: deque[asyncio.Handle]

    def __init__(self, seed: int) -> None:
        super().__init__()
        if not isinstance(getattr(self, "_ready", None), deque) or not hasattr(self, "_run_once"):
            raise RuntimeError("this Python's asyncio keeps its callbacks in another way")
        self.seed = seed
        # One for each kind, drawn from only where there is a choice: what comes from other threads, in its own time,
        # changes as little as possible of what a seed means.
        self._of_steps = random.Random(f"{seed} steps")
        self._of_handlers = random.Random(f"{seed} handlers")
        self._of_bottom_halves = random.Random(f"{seed} bottom halves")
        #: Steps that are late, with the rounds that they have been so far.
        self._held: dict[asyncio.Handle, int] = {}

    def _run_once(self) -> None:
        held = self._reorder()
        try:
            super()._run_once()  # type: ignore[misc]  # every BaseEventLoop has it; typeshed leaves it out
        finally:
            self._ready.extend(held)

    def _process_events(self, event_list: list[Any]) -> None:
        self._of_handlers.shuffle(event_list)
        for key, _ in event_list:
            for handle in key.data if isinstance(key.data, tuple) else ():
                self._shuffle_bottom_halves(handle)
        super()._process_events(event_list)  # type: ignore[misc]

    def _reorder(self) -> list[asyncio.Handle]:
        """Put ``_ready`` into a new order; the steps that are left out of it this time.

        Other threads append to it meanwhile: what they have appended comes behind.
        """
        ready = [self._ready.popleft() for _ in range(len(self._ready))]
        for handle in ready:
            self._shuffle_bottom_halves(handle)
        steps = [handle for handle in ready if _is_step(handle)]
        others = [handle for handle in ready if not _is_step(handle)]
        if not steps or len(ready) == 1:
            self._held.clear()
            self._ready.extendleft(reversed(ready))
            return []
        self._of_steps.shuffle(steps)
        held = [step for step in steps if self._is_late(step)]
        if len(held) == len(ready):
            held.pop()
        now = [step for step in steps if step not in held]
        self._held = {step: self._held.get(step, 0) + 1 for step in held}
        self._ready.extendleft(reversed(self._merged(now, others)))
        return held

    def _is_late(self, step: asyncio.Handle) -> bool:
        return self._held.get(step, 0) < MAX_HELD and self._of_steps.random() < LIKELIHOOD_HELD

    def _merged(self, steps: Sequence[asyncio.Handle], others: Sequence[asyncio.Handle]) -> list[asyncio.Handle]:
        """Both, each in its order."""
        of_steps = [True] * len(steps) + [False] * len(others)
        self._of_steps.shuffle(of_steps)
        step, other = iter(steps), iter(others)
        return [next(step) if is_step else next(other) for is_step in of_steps]

    def _shuffle_bottom_halves(self, handle: asyncio.Handle | None) -> None:
        queue = getattr(_callback(handle), "__self__", None)
        if isinstance(queue, BottomHalfQueue):
            queue._take_incoming()
            self._of_bottom_halves.shuffle(queue.next_round)


def _callback(handle: asyncio.Handle | None) -> object:
    return getattr(handle, "_callback", None)


def _is_step(handle: asyncio.Handle) -> bool:
    return isinstance(getattr(_callback(handle), "__self__", None), asyncio.Task | coroutines.Coroutine)


@contextmanager
def _equal_deadlines_in_any_order(choice: random.Random) -> Iterator[None]:
    """Of timers with the same deadline, the one with the smaller ``order`` is first: make that a matter of chance.

    For timers of all contexts of the process, in which one test is run at a time.
    """
    counter = itertools.count(1)
    before = timer._next_order
    timer._next_order = lambda: choice.getrandbits(32) + 1 << 40 | next(counter)  # type: ignore[misc]
    try:
        yield
    finally:
        timer._next_order = before  # type: ignore[misc]


def run_seeded(main: Callable[[], Coroutine[Any, Any, None]], seed: int) -> None:
    """Run ``main()`` on a fresh SeededLoop in this thread, in which no loop runs. Its error has the seed as a note."""
    try:
        with (
            asyncio.Runner(loop_factory=lambda: SeededLoop(seed)) as runner,
            _equal_deadlines_in_any_order(random.Random(seed)),
        ):
            runner.run(main())
    except Exception as error:
        error.add_note(f"schedule {seed}: {VARIABLE}={seed} runs this one again")
        raise


def seeded_schedules(
    count: int = 200, *, first: int = 0
) -> Callable[[Callable[Parameters, Coroutine[Any, Any, None]]], Callable[Parameters, None]]:
    """Decorator: run an async test with the seeds ``first`` to ``first + count - 1``; see the module's head.

    Of each failing test the first failing seed is reported. With ASYNCEMU_SCHEDULE in the environment, that one only.
    """

    def decorate(test: Callable[Parameters, Coroutine[Any, Any, None]]) -> Callable[Parameters, None]:
        @functools.wraps(test)
        def run_all(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> None:
            for seed in _chosen() or range(first, first + count):
                run_seeded(lambda: test(*arguments, **keywords), seed)

        return run_all

    return decorate


def _chosen() -> list[int]:
    """The seed of the environment, if one is there."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return []
    try:
        return [int(text)]
    except ValueError:
        raise ValueError(f"{VARIABLE}={text[:40]!r} is not a number") from None
