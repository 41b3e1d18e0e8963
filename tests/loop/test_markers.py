# SPDX-License-Identifier: GPL-2.0-or-later
"""The run-context markers, in debug and without."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from asyncemu.loop import AioContext, any_thread, home, vcpu_thread
from asyncemu.loop.markers import WrongThread, in_vcpu_thread


class Device:
    def __init__(self, context: AioContext) -> None:
        self.context = context

    @home
    def at_home(self, value: int, *, twice: bool = False) -> int:
        """What it does."""
        return value * (1 + twice)

    @any_thread
    def anywhere(self) -> str:
        return threading.current_thread().name

    @vcpu_thread
    def waits(self) -> str:
        return "waited"


def in_named_thread(function: object, name: str = "stranger") -> list[object]:
    """The result or the error of ``function()`` in a thread called ``name``."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(function())  # type: ignore[operator]
        except WrongThread as error:
            outcome.append(str(error))

    thread = threading.Thread(target=run, name=name)
    thread.start()
    thread.join(10)
    return outcome


async def test_home_at_home_passes_arguments_and_result(context: AioContext) -> None:
    assert Device(context).at_home(4, twice=True) == 8


async def test_home_elsewhere_raises_with_the_thread_s_name(context: AioContext) -> None:
    device = Device(context)

    assert in_named_thread(lambda: device.at_home(1)) == [
        "Device.at_home belongs to <AioContext test>, called from thread 'stranger'"
    ]


async def test_any_thread_is_not_checked(context: AioContext) -> None:
    assert in_named_thread(Device(context).anywhere) == ["stranger"]


async def test_vcpu_thread_elsewhere_raises_with_the_thread_s_name(context: AioContext) -> None:
    device = Device(context)

    assert in_named_thread(device.waits) == ["Device.waits is for vCPU threads, called from thread 'stranger'"]
    with pytest.raises(WrongThread):
        device.waits()


async def test_vcpu_thread_in_a_vcpu_thread_passes(context: AioContext, as_vcpu_thread: None) -> None:
    assert Device(context).waits() == "waited"
    assert in_vcpu_thread()


async def test_vcpu_thread_is_a_property_of_one_thread(context: AioContext, as_vcpu_thread: None) -> None:
    assert in_named_thread(in_vcpu_thread) == [False]


def test_marked_methods_say_so_and_keep_name_and_docstring() -> None:
    marks = [getattr(method, "__run_context__", "") for method in (Device.at_home, Device.anywhere, Device.waits)]

    assert marks == ["home", "any_thread", "vcpu_thread"]
    assert (Device.at_home.__name__, Device.at_home.__doc__) == ("at_home", "What it does.")


@pytest.mark.parametrize(("value", "debug"), [("1", "True"), ("0", "False"), ("", "False")])
def test_debug_is_asked_for_by_the_environment(value: str, debug: str) -> None:
    program = (
        "from asyncemu.loop import markers, WorkerPool; print(markers.DEBUG, hasattr(WorkerPool.submit, '__wrapped__'))"
    )
    environment = {**os.environ, "ASYNCEMU_DEBUG": value}

    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert answer.stdout.split() == [debug, debug]
