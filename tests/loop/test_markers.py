# SPDX-License-Identifier: GPL-2.0-or-later
"""The run-context markers, in debug and without."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from asyncemu.loop import AioContext, HasHome, any_thread, home, vcpu_thread
from asyncemu.loop.markers import WrongThread, in_vcpu_thread, mark_of


class Device(HasHome):
    def __init__(self, context: AioContext) -> None:
        self.context = context
        self.level = 0

    @home
    def at_home(self, value: int, *, twice: bool = False) -> int:
        """What it does."""
        return value * (1 + twice)

    @home
    async def awaits(self) -> str:
        return "awaited"

    @home
    @contextmanager
    def section(self) -> Iterator[str]:
        yield "inside"

    @property
    def gain(self) -> int:
        return self.level

    @gain.setter
    @home
    def gain(self, level: int) -> None:
        self.level = level

    @any_thread
    def anywhere(self) -> str:
        return threading.current_thread().name

    @vcpu_thread
    def waits(self) -> str:
        return "waited"


class Author(Device):
    """Somebody who has never heard of marks."""

    def at_home(self, value: int, *, twice: bool = False) -> int:
        return value + twice

    async def awaits(self) -> str:
        return await super().awaits() + " by the author"

    @property
    def gain(self) -> int:
        return -self.level

    @gain.setter
    def gain(self, level: int) -> None:
        self.level = -level

    def anywhere(self) -> str:
        return "the author's"

    def waits(self) -> str:
        return "waited by the author"

    def own(self) -> str:
        return "not the base's"


class Second(Author):
    """One who overrides what the first has overridden, and knows better."""

    @any_thread
    def at_home(self, value: int, *, twice: bool = False) -> int:
        return -value

    async def awaits(self) -> str:
        return "awaited by the second"


def in_named_thread(function: Callable[[], object], name: str = "stranger") -> list[object]:
    """The result or the error of ``function()`` in a thread called ``name``."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(function())
        except WrongThread as error:
            outcome.append(str(error))

    thread = threading.Thread(target=run, name=name)
    thread.start()
    thread.join(10)
    return outcome


def awaited(make: Callable[[], Awaitable[object]]) -> Callable[[], object]:
    """Runs ``make()`` in a loop of its own."""

    async def body() -> object:
        return await make()

    return lambda: asyncio.run(body())


# ---- the checks


async def test_home_at_home_passes_arguments_and_result(context: AioContext) -> None:
    assert Device(context).at_home(4, twice=True) == 8


async def test_home_elsewhere_raises_with_the_thread_s_name(
    context: AioContext, expected_violations: list[str]
) -> None:
    device = Device(context)

    assert in_named_thread(lambda: device.at_home(1)) == [
        "Device.at_home belongs to <AioContext test>, called from thread 'stranger'"
    ]


async def test_home_async_elsewhere_raises_when_its_body_begins(
    context: AioContext, expected_violations: list[str]
) -> None:
    device = Device(context)

    assert in_named_thread(awaited(device.awaits)) == [
        "Device.awaits belongs to <AioContext test>, called from thread 'stranger'"
    ]


async def test_home_async_called_elsewhere_and_awaited_at_home_passes(context: AioContext) -> None:
    [body] = in_named_thread(Device(context).awaits)

    assert isinstance(body, Awaitable)
    assert await body == "awaited"


async def test_home_context_manager_is_checked_where_it_is_made(
    context: AioContext, expected_violations: list[str]
) -> None:
    device = Device(context)
    with device.section() as inside:
        pass

    [outcome] = in_named_thread(device.section)

    assert (inside, str(outcome)[:14]) == ("inside", "Device.section")


async def test_home_setter_is_checked_and_its_getter_is_not(
    context: AioContext, expected_violations: list[str]
) -> None:
    device = Device(context)
    device.gain = 3

    [outcome] = in_named_thread(lambda: setattr(device, "gain", 4))

    assert str(outcome).startswith("Device.gain belongs")
    assert in_named_thread(lambda: device.gain) == [3]


async def test_any_thread_is_not_checked(context: AioContext) -> None:
    assert in_named_thread(Device(context).anywhere) == ["stranger"]


async def test_vcpu_thread_elsewhere_raises_with_the_thread_s_name(
    context: AioContext, expected_violations: list[str]
) -> None:
    device = Device(context)

    assert in_named_thread(device.waits) == ["Device.waits is for vCPU threads, called from thread 'stranger'"]
    with pytest.raises(WrongThread):
        device.waits()


async def test_vcpu_thread_in_a_vcpu_thread_passes(context: AioContext, as_vcpu_thread: None) -> None:
    assert Device(context).waits() == "waited"
    assert in_vcpu_thread()


async def test_vcpu_thread_is_a_property_of_one_thread(context: AioContext, as_vcpu_thread: None) -> None:
    assert in_named_thread(in_vcpu_thread) == [False]


# ---- what overrides a marked method


@pytest.mark.parametrize("call", [lambda device: device.at_home(1), lambda device: setattr(device, "gain", 1)])
async def test_override_without_a_mark_is_held_to_the_base_s(
    context: AioContext, expected_violations: list[str], call: Callable[[Author], object]
) -> None:
    device = Author(context)

    [outcome] = in_named_thread(lambda: call(device))

    assert str(outcome).startswith("Author.")
    assert in_named_thread(device.anywhere) == ["the author's"]


async def test_override_async_without_a_mark_is_held_to_the_base_s(
    context: AioContext, expected_violations: list[str]
) -> None:
    device = Author(context)

    [outcome] = in_named_thread(awaited(device.awaits))

    assert str(outcome).startswith("Author.awaits belongs")
    assert await device.awaits() == "awaited by the author"


async def test_override_of_an_override_is_held_to_the_base_s(
    context: AioContext, expected_violations: list[str]
) -> None:
    [outcome] = in_named_thread(awaited(Second(context).awaits))

    assert str(outcome).startswith("Second.awaits belongs")


async def test_override_with_a_mark_of_its_own_is_held_to_that(context: AioContext) -> None:
    assert in_named_thread(lambda: Second(context).at_home(5)) == [-5]


async def test_override_at_home_works_as_written(context: AioContext) -> None:
    device = Author(context)
    device.gain = 7

    assert (device.at_home(1, twice=True), device.level, device.gain, device.own()) == (2, -7, 7, "not the base's")


# ---- violations


async def test_violation_is_recorded_with_the_caller_also_when_it_is_swallowed(
    context: AioContext, expected_violations: list[str]
) -> None:
    device = Device(context)

    in_named_thread(lambda: device.at_home(1), "culprit")

    [violation] = expected_violations
    assert violation.startswith("Device.at_home belongs to <AioContext test>, called from thread 'culprit' (")
    assert f"{__file__}:" in violation


async def test_violation_of_an_async_method_is_recorded(context: AioContext, expected_violations: list[str]) -> None:
    in_named_thread(awaited(Device(context).awaits))

    assert len(expected_violations) == 1


# ---- what a marker leaves behind


@pytest.mark.parametrize(
    ("method", "mark"),
    [
        ("at_home", "home"),
        ("awaits", "home"),
        ("section", "home"),
        ("gain", "home"),
        ("anywhere", "any_thread"),
        ("waits", "vcpu_thread"),
    ],
)
def test_mark_of_is_the_method_s_or_what_it_overrides(method: str, mark: str) -> None:
    assert (mark_of(Device, method), mark_of(Author, method)) == (mark, mark)


def test_mark_of_unmarked_or_missing_is_empty() -> None:
    assert (mark_of(Author, "own"), mark_of(Author, "none")) == ("", "")


def test_marked_methods_keep_name_docstring_and_kind() -> None:
    assert (Device.at_home.__name__, Device.at_home.__doc__) == ("at_home", "What it does.")
    assert asyncio.iscoroutinefunction(Device.awaits)
    assert asyncio.iscoroutinefunction(Author.awaits)


@pytest.mark.parametrize(("value", "debug"), [("1", "True"), ("0", "False"), ("", "False")])
def test_debug_is_asked_for_by_the_environment(value: str, debug: str) -> None:
    program = (
        "from asyncemu.loop import markers, WorkerPool;"
        "print(markers.DEBUG, hasattr(WorkerPool.submit, '__wrapped__'), "
        "'__init_subclass__' in vars(markers.HasHome))"
    )
    environment = {**os.environ, "ASYNCEMU_DEBUG": value}

    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert answer.stdout.split() == [debug] * 3
