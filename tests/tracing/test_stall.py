# SPDX-License-Identifier: GPL-2.0-or-later
"""The stall detector: with times and loops made by hand, then with a thread and a loop that are real."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import asyncemu.coroutines
import asyncemu.loop
from asyncemu.loop import AioContext
from asyncemu.tracing import tracer
from asyncemu.tracing.stall import CHECKS, NOBODY, UNSEEN, Stall, StallDetector, name_culprit

MS = 1_000_000
THRESHOLD = 100 * MS
IDENT = 4711

LOOP = Path(asyncemu.loop.__file__).parent
COROUTINE = Path(asyncemu.coroutines.__file__).parent / "coroutine.py"
ASYNCIO = Path(asyncio.__file__).parent


class Bench:
    """A detector whose clock and loop are the test's."""

    def __init__(self) -> None:
        self.now = 1_000 * MS
        self.stalls: list[Stall] = []
        self.questions: list[Callable[[], None]] = []
        self.frames: dict[int, FrameType] = {IDENT: sys._getframe()}
        self.detector = StallDetector(THRESHOLD, self.stalls.append, clock=lambda: self.now, frames=lambda: self.frames)
        self.detector.watch("main", IDENT, self.questions.append)

    def check_after(self, milliseconds: int) -> None:
        self.now += milliseconds * MS
        self.detector.check()

    def answer_after(self, milliseconds: int) -> None:
        self.now += milliseconds * MS
        self.questions.pop()()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_loop_is_asked_at_the_first_check(bench: Bench) -> None:
    bench.check_after(0)

    assert len(bench.questions) == 1


def test_loop_that_has_not_answered_is_not_asked_again(bench: Bench) -> None:
    bench.check_after(0)
    bench.check_after(25)

    assert len(bench.questions) == 1


def test_loop_that_answers_in_time_is_asked_again_and_not_reported(bench: Bench) -> None:
    for _ in range(5):
        bench.check_after(25)
        bench.answer_after(10)
    bench.check_after(25)

    assert (len(bench.questions), bench.stalls) == (1, [])


def test_loop_held_for_the_threshold_is_not_reported(bench: Bench) -> None:
    bench.check_after(0)
    bench.check_after(100)
    bench.answer_after(0)
    bench.check_after(0)

    assert bench.stalls == []


def test_loop_held_for_longer_is_reported_once_while_it_is_held(bench: Bench) -> None:
    bench.check_after(0)
    bench.check_after(101)
    bench.check_after(25)

    (stall,) = bench.stalls
    assert (stall.loop, stall.duration_ns, stall.ended) == ("main", 101 * MS, False)


def test_end_of_a_stall_is_reported_with_its_length_and_who_it_was(bench: Bench) -> None:
    bench.check_after(0)
    bench.check_after(101)
    bench.answer_after(200)
    bench.check_after(25)

    first, last = bench.stalls
    assert last == Stall("main", first.callback, first.place, 301 * MS, ended=True)


def test_after_a_stall_the_loop_is_watched_again(bench: Bench) -> None:
    bench.check_after(0)
    bench.check_after(101)
    bench.answer_after(0)
    bench.check_after(25)
    bench.check_after(101)

    assert [stall.ended for stall in bench.stalls] == [False, True, False]


def test_stall_that_kept_the_watchdog_too_is_reported_at_its_end(bench: Bench) -> None:
    bench.check_after(0)
    bench.answer_after(500)
    bench.check_after(0)

    assert bench.stalls == [Stall("main", UNSEEN, "", 500 * MS, ended=True)]


def test_thread_that_is_gone_is_nobody(bench: Bench) -> None:
    bench.frames.clear()
    bench.check_after(0)
    bench.check_after(101)

    assert bench.stalls == [Stall("main", NOBODY, "", 101 * MS, ended=False)]


def test_loops_are_watched_apart(bench: Bench) -> None:
    other: list[Callable[[], None]] = []
    bench.detector.watch("io0", IDENT, other.append)
    bench.check_after(0)
    bench.answer_after(1)
    bench.check_after(101)

    assert [stall.loop for stall in bench.stalls] == ["io0"]


def test_loop_that_is_not_watched_any_more_is_not_reported(bench: Bench) -> None:
    bench.check_after(0)
    bench.detector.unwatch("main")
    bench.detector.unwatch("main")
    bench.check_after(101)
    bench.answer_after(0)

    assert bench.stalls == []


def test_loop_of_a_known_name_takes_its_place(bench: Bench) -> None:
    other: list[Callable[[], None]] = []
    bench.check_after(0)
    bench.detector.watch("main", IDENT, other.append)
    bench.check_after(101)

    assert (len(other), bench.stalls) == (1, [])


@pytest.fixture
def tracing() -> Iterator[None]:
    tracer.start()
    yield
    tracer.start()
    tracer.stop()


@pytest.mark.usefixtures("tracing")
def test_stall_is_in_the_trace(bench: Bench) -> None:
    bench.check_after(0)
    bench.check_after(101)
    bench.answer_after(0)
    bench.check_after(0)

    (track,) = tracer.tracks()
    assert [event[:2] for event in track.events] == [("stall", str(stall)) for stall in bench.stalls]


def test_stall_that_goes_on_as_a_line() -> None:
    stall = Stall("main", "Disk.flush", "/x/disk.py:12 Disk.flush", 101 * MS, ended=False)

    assert str(stall) == "main: Disk.flush has held the loop for more than 101 ms, at /x/disk.py:12 Disk.flush"


def test_stall_that_has_ended_as_a_line() -> None:
    stall = Stall("main", UNSEEN, "", 301 * MS, ended=True)

    assert str(stall) == "main: a callback that kept the GIL held the loop for 301 ms"


# ---- whose fault it is


def stack(*frames: tuple[Path | str, str]) -> tuple[str, str]:
    """Whom name_culprit names on a stack of these files and functions, outermost first, above the test's own."""

    def innermost() -> tuple[str, str]:
        return name_culprit(sys._getframe(1))

    function: Callable[[], tuple[str, str]] = innermost
    for filename, name in reversed(frames):
        scope: dict[str, Any] = {"inner": function}
        exec(compile(f"def {name}():\n    return inner()", str(filename), "exec"), scope)
        function = scope[name]
    return function()


MACHINERY: dict[str, list[tuple[Path | str, str]]] = {
    "asyncio": [(ASYNCIO / "base_events.py", "run_forever"), (ASYNCIO / "events.py", "_run")],
    "a bottom half": [(ASYNCIO / "runners.py", "run"), (LOOP / "bottom_half_queue.py", "_run_round")],
    "a handler": [(ASYNCIO / "runners.py", "run"), (LOOP / "context.py", "_hear")],
    "a timer": [(LOOP / "main_loop.py", "run"), (ASYNCIO / "runners.py", "run"), (LOOP / "timer.py", "run")],
    "a coroutine": [(ASYNCIO / "runners.py", "run"), (LOOP / "timer.py", "run"), (COROUTINE, "_step")],
    "uvloop": [("/site-packages/uvloop/__init__.py", "run")],
}  # fmt: skip


@pytest.mark.parametrize("way", MACHINERY)
def test_culprit_is_the_first_behind_the_machinery(way: str) -> None:
    behind = (("/x/disk.py", "serve"), ("/x/lib.py", "search"))

    assert stack(("/x/main.py", "main"), *MACHINERY[way], *behind) == ("serve", "/x/lib.py:2 search")


def test_culprit_that_is_in_our_own_machinery_is_named_by_who_called_that() -> None:
    named = stack((ASYNCIO / "runners.py", "run"), ("/x/disk.py", "serve"), (LOOP / "timer.py", "mod"))

    assert named == ("serve", f"{LOOP / 'timer.py'}:2 mod")


@pytest.mark.parametrize("way", MACHINERY)
def test_nobody_is_in_the_act(way: str) -> None:
    filename, name = MACHINERY[way][-1]

    assert stack(("/x/main.py", "main"), *MACHINERY[way]) == (NOBODY, f"{filename}:2 {name}")


def test_thread_without_a_loop_is_nobody() -> None:
    assert stack(("/x/main.py", "main")) == (NOBODY, "/x/main.py:2 main")


# ---- for real


class Reports:
    """Stalls as they come, from the watchdog's thread."""

    def __init__(self) -> None:
        self.stalls: list[Stall] = []
        self.begun = threading.Event()
        self.ended = threading.Event()

    def __call__(self, stall: Stall) -> None:
        self.stalls.append(stall)
        (self.ended if stall.ended else self.begun).set()


async def test_callback_that_holds_a_context_is_named(context: AioContext) -> None:
    reports = Reports()
    detector = StallDetector(4 * MS, reports)
    detector.watch(context.name, context.thread_ident, context.schedule_oneshot)
    over = asyncio.get_running_loop().create_future()

    def holds_the_loop() -> None:
        # Not before: on a busy host there might be another stall first.
        detector.start()
        reports.begun.wait(10)
        over.set_result(None)

    context.schedule_oneshot(holds_the_loop)
    await over
    await context.worker_pool.run(reports.ended.wait, 10)
    detector.close()

    first, last = reports.stalls[:2]
    name = "test_callback_that_holds_a_context_is_named.<locals>.holds_the_loop"
    assert (first.loop, first.callback, first.ended) == ("test", name, False)
    assert first.place.startswith(f"{threading.__file__}:")
    assert first.duration_ns > 4 * MS
    assert (last.callback, last.place, last.ended) == (name, first.place, True)
    assert last.duration_ns >= first.duration_ns


def test_detector_that_was_not_started_is_closed() -> None:
    StallDetector(MS, print).close()


def test_detector_waits_between_checks_without_spinning() -> None:
    """A CHECKS-th part of the threshold at a time, until it is closed."""
    waits: list[float] = []
    detector = StallDetector(THRESHOLD, print)

    class Closing:
        def wait(self, timeout: float) -> bool:
            waits.append(timeout)
            return len(waits) == 3

    detector._closing = Closing()  # type: ignore[assignment]
    detector._main()

    assert waits == [THRESHOLD / CHECKS / 1e9] * 3
