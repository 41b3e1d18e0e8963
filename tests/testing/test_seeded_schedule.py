# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeded schedules: races are found and replayed, and what is promised holds under each of them."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from asyncemu.coroutines import CoMutex, start
from asyncemu.loop import AioContext, Clocks
from asyncemu.options import Options
from asyncemu.testing import DeviceBench, FakeClock, run_seeded, seeded_schedules
from asyncemu.virtio import Chain, VirtioDevice, virtqueue

SEEDS = 200
Body = Callable[[], Coroutine[Any, Any, None]]


class Racy(VirtioDevice[Options], name="racy", device_id=63):
    """Answers with the length of its request, which a bottom half of its own works out: in time, it hopes."""

    @virtqueue(size=8)
    async def requestq(self, request: Chain) -> None:
        await self.answer(request)

    async def answer(self, request: Chain) -> None:
        length = 0

        def measure() -> None:
            nonlocal length
            length = request.readable.nbytes

        done = self.context.loop.create_future()
        self.context.schedule_oneshot(measure)

        def write() -> None:
            request.written = request.writable.write(bytes([length]))
            done.set_result(None)

        # Nobody has promised that bottom halves of one round run in the order in which they were scheduled.
        self.context.schedule_oneshot(write)
        await done


class Correct(Racy, name="correct", device_id=63):
    """The same, and it waits for what it needs."""

    async def answer(self, request: Chain) -> None:
        measured: asyncio.Future[int] = self.context.loop.create_future()
        self.context.schedule_oneshot(lambda: measured.set_result(request.readable.nbytes))
        request.written = request.writable.write(bytes([await measured]))


async def ask(device: type[Racy]) -> None:
    async with DeviceBench() as bench:
        _, driver = await bench.add_virtio(device, Options())
        await driver.start()

        buffer = await driver.queues[0].request([b"abc"], [1])

        assert buffer.answer == b"\3"


def failing_seeds(body: Body, seeds: int = SEEDS) -> list[int]:
    failing = []
    for seed in range(seeds):
        try:
            run_seeded(body, seed)
        except AssertionError:
            failing.append(seed)
    return failing


async def test_racy_device_passes_in_the_usual_order() -> None:
    await ask(Racy)


def test_racy_device_is_caught_by_some_seed_with_a_note_to_replay_it() -> None:
    with pytest.raises(AssertionError) as raised:
        seeded_schedules(SEEDS)(lambda: ask(Racy))()

    (note,) = raised.value.__notes__
    assert note.startswith("schedule ") and "ASYNCEMU_SCHEDULE=" in note


def test_race_on_one_loop_fails_with_the_same_seeds_each_time() -> None:
    async def race() -> None:
        notes: list[str] = []

        async def step(name: str) -> None:
            await asyncio.sleep(0)
            notes.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(step("first"))
            group.create_task(step("second"))
        assert notes == ["first", "second"]

    first = failing_seeds(race, 20)

    assert 0 < len(first) < 20
    assert failing_seeds(race, 20) == first


@seeded_schedules(SEEDS)
async def test_correct_device_passes_under_every_seed() -> None:
    await ask(Correct)


def test_environment_names_the_only_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    async def note() -> None:
        seeds.append(asyncio.get_running_loop().seed)  # type: ignore[attr-defined]

    monkeypatch.setenv("ASYNCEMU_SCHEDULE", "17")

    seeded_schedules(5)(note)()

    assert seeds == [17]


def test_environment_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCEMU_SCHEDULE", "many")

    with pytest.raises(ValueError, match="ASYNCEMU_SCHEDULE='many' is not a number"):
        seeded_schedules(5)(lambda: ask(Correct))()


@seeded_schedules(2)
async def test_fixtures_and_parameters_are_passed_on(tmp_path: os.PathLike[str]) -> None:
    assert os.fspath(tmp_path)


# ---- what is free


def orders(body: Callable[[list[str]], Coroutine[Any, Any, None]], seeds: int = 50) -> set[str]:
    """What ``body`` notes, under each seed."""
    found = set()
    for seed in range(seeds):
        notes: list[str] = []
        run_seeded(lambda: body(notes), seed)  # noqa: B023  # called before the next
        found.add("".join(notes))
    return found


def test_tasks_go_on_in_any_order() -> None:
    async def body(notes: list[str]) -> None:
        async def step(name: str) -> None:
            notes.append(name)

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(step(name))

    assert orders(body, 100) == {"abc", "acb", "bac", "bca", "cab", "cba"}


def test_tasks_may_be_late() -> None:
    async def body(notes: list[str]) -> None:
        async def steps(name: str) -> None:
            for _ in range(2):
                notes.append(name)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(steps("a"))
            group.create_task(steps("b"))

    # Round by round there would be abab, abba, baab, baba only.
    assert {"aabb", "bbaa"} <= orders(body)


def test_coroutines_of_ours_go_on_in_any_order() -> None:
    async def body(notes: list[str]) -> None:
        context = AioContext(asyncio.get_running_loop(), "test")

        async def step(name: str) -> None:
            await asyncio.sleep(0)
            notes.append(name)

        for each in [start(context, step(name)) for name in "ab"]:
            await each
        context.close()

    assert orders(body) == {"ab", "ba"}


def test_bottom_halves_of_a_round_run_in_any_order() -> None:
    async def body(notes: list[str]) -> None:
        context = AioContext(asyncio.get_running_loop(), "test")
        done = context.loop.create_future()
        for name in "ab":
            context.schedule_oneshot(lambda name=name: notes.append(name))  # type: ignore[misc]
        context.loop.call_later(0, done.set_result, None)
        await done
        context.close()

    assert orders(body) == {"ab", "ba"}


def hear(notes: list[str], name: str, here: socket.socket) -> None:
    notes.append(name + here.recv(1).decode())


def test_handlers_that_are_ready_together_run_in_any_order() -> None:
    async def body(notes: list[str]) -> None:
        context = AioContext(asyncio.get_running_loop(), "test")
        pairs = [socket.socketpair() for _ in "ab"]
        for name, (here, there) in zip("ab", pairs, strict=True):
            there.send(b"!")
            context.set_fd_handler(here.fileno(), functools.partial(hear, notes, name, here))
        while len(notes) < 2:
            await asyncio.sleep(0)
        context.close()
        for pair in pairs:
            for each in pair:
                each.close()

    assert orders(body) == {"a!b!", "b!a!"}


def test_timers_with_one_deadline_run_in_any_order() -> None:
    async def body(notes: list[str]) -> None:
        context = AioContext(asyncio.get_running_loop(), "test")
        time = FakeClock()
        clocks = Clocks(time)
        for name in "ab":
            context.timer(clocks.realtime, lambda name=name: notes.append(name)).mod(5)  # type: ignore[misc]
        time.advance(5)
        context.close()

    assert orders(body) == {"ab", "ba"}


# ---- what is promised


@seeded_schedules(50)
async def test_callbacks_of_call_soon_keep_their_order() -> None:
    notes: list[int] = []
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    for number in range(10):
        loop.call_soon(notes.append, number)
    loop.call_soon(done.set_result, None)
    await done

    assert notes == list(range(10))


@seeded_schedules(50)
async def test_what_a_bottom_half_schedules_is_in_the_next_round() -> None:
    context = AioContext(asyncio.get_running_loop(), "test")
    notes: list[str] = []
    done = context.loop.create_future()

    def first() -> None:
        notes.append("first")
        context.schedule_oneshot(lambda: notes.append("next"))
        context.schedule_oneshot(lambda: context.loop.call_soon(done.set_result, None))

    context.schedule_oneshot(first)
    context.schedule_oneshot(lambda: notes.append("first"))
    await done
    context.close()

    assert notes == ["first", "first", "next"]


@seeded_schedules(50)
async def test_mutex_is_handed_on_in_the_order_in_which_it_was_asked_for() -> None:
    context = AioContext(asyncio.get_running_loop(), "test")
    mutex = CoMutex()
    notes: list[int] = []

    async def hold(number: int) -> None:
        async with mutex:
            await asyncio.sleep(0)
            notes.append(number)

    for each in [start(context, hold(number)) for number in range(5)]:
        await each
    context.close()

    assert notes == list(range(5))


@seeded_schedules(50)
async def test_timers_run_in_the_order_of_their_deadlines() -> None:
    context = AioContext(asyncio.get_running_loop(), "test")
    time = FakeClock()
    clocks = Clocks(time)
    notes: list[int] = []
    for number in (3, 1, 2):
        context.timer(clocks.realtime, lambda number=number: notes.append(number)).mod(number)  # type: ignore[misc]
    time.advance(3)
    context.close()

    assert notes == [1, 2, 3]


@seeded_schedules(10)
async def test_callbacks_of_another_thread_all_come_in_their_order() -> None:
    loop = asyncio.get_running_loop()
    notes: list[int] = []
    done = loop.create_future()

    def call() -> None:
        for number in range(500):
            loop.call_soon_threadsafe(notes.append, number)
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=call)
    thread.start()
    while not done.done():
        await asyncio.sleep(0)
    thread.join()

    assert notes == list(range(500))
