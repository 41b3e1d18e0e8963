# SPDX-License-Identifier: GPL-2.0-or-later
"""Clocks: four of them over one source, of which two stop."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.loop import Clock, Clocks
from asyncemu.testing.fake_clock import FakeClock

STOPPABLE = ["virtual", "virtual_rt"]


def test_realtime_is_the_source_s_monotonic_time() -> None:
    source = FakeClock(monotonic_ns=7, wall_ns=100)

    assert Clocks(source).realtime.now() == 7


def test_host_is_the_time_of_day_and_jumps() -> None:
    source = FakeClock(monotonic_ns=7, wall_ns=100)
    host = Clocks(source).host

    before = host.now()
    source.set_wall(50)

    assert (before, host.now()) == (100, 50)


@pytest.mark.parametrize("name", STOPPABLE)
def test_virtual_begins_stopped_at_zero(name: str) -> None:
    source = FakeClock(monotonic_ns=7)
    clock: Clock = getattr(Clocks(source), name)

    source.advance(10)

    assert (clock.now(), clock.enabled) == (0, False)


@pytest.mark.parametrize("name", STOPPABLE)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 10**12)), max_size=20))
def test_virtual_is_the_sum_of_the_time_it_ran(name: str, steps: list[tuple[bool, int]]) -> None:
    source = FakeClock(monotonic_ns=123)
    clocks = Clocks(source)
    clock: Clock = getattr(clocks, name)

    for running, ns in steps:
        clocks.run_virtual(running)
        source.advance(ns)

    assert clock.now() == sum(ns for running, ns in steps if running)


@given(st.booleans(), st.integers(0, 10**12))
def test_offset_is_what_native_code_subtracts(running: bool, ns: int) -> None:
    source = FakeClock(monotonic_ns=55)
    clocks = Clocks(source)
    clocks.run_virtual(True)
    source.advance(10)
    clocks.run_virtual(running)
    source.advance(ns)

    assert source.monotonic_ns() - clocks.virtual.offset() == clocks.virtual.now()


@pytest.mark.parametrize("name", ["realtime", "host", *STOPPABLE])
def test_monotonic_deadline_is_when_the_clock_shows_it(name: str) -> None:
    source = FakeClock(monotonic_ns=7, wall_ns=100)
    clocks = Clocks(source)
    clocks.run_virtual(True)
    clock: Clock = getattr(clocks, name)
    deadline = clock.now() + 30

    at = clock.monotonic_deadline(deadline)
    source.advance(30)

    assert (at, clock.now()) == (source.monotonic_ns(), deadline)


def test_monotonic_deadline_stopped_is_none() -> None:
    assert Clocks(FakeClock()).virtual.monotonic_deadline(5) is None


def test_enable_twice_does_not_lose_time() -> None:
    source = FakeClock()
    clocks = Clocks(source)
    clocks.run_virtual(True)
    source.advance(10)

    clocks.run_virtual(True)

    assert clocks.virtual.now() == 10


def test_two_machines_stop_independently() -> None:
    source = FakeClock()
    first, second = Clocks(source), Clocks(source)
    first.run_virtual(True)
    source.advance(5)
    second.run_virtual(True)
    first.run_virtual(False)
    source.advance(3)

    assert (first.virtual.now(), second.virtual.now()) == (5, 3)


def test_kernel_s_time_is_the_default() -> None:
    clocks = Clocks()
    before = time.monotonic_ns(), time.time_ns()

    realtime, host = clocks.realtime.now(), clocks.host.now()

    assert before[0] <= realtime <= time.monotonic_ns()
    assert before[1] <= host <= time.time_ns()
    assert clocks.source.follows_kernel
