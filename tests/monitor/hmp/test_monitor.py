# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor on a chardev whose outside is the test, alone and on a mux."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from asyncemu.chardev import ChardevEvent, ChardevOptions
from asyncemu.loop import AioContext
from asyncemu.machine import Machine, RunState
from asyncemu.monitor.control import Control
from asyncemu.monitor.hmp import table
from asyncemu.monitor.hmp.lazy import LazyMonitor, attach_default
from asyncemu.monitor.hmp.monitor import GREETING, READ_SIZE, HumanMonitor
from asyncemu.monitor.hmp.session import Session
from asyncemu.testing.memory_chardev import MemoryChardev
from asyncemu.testing.waiting import until
from tests.chardev.recorder import Recorder
from tests.monitor.hmp.conftest import Build

PROMPT = "(qemu) "
GREETED = GREETING.replace("\n", "\r\n") + PROMPT
STATUS = "VM status: paused (prelaunch)\r\n"

MakeChardev = Callable[..., Awaitable[MemoryChardev]]
Attach = Callable[[MemoryChardev], HumanMonitor]


@pytest.fixture
async def machine(build: Build) -> Machine:
    """With nothing but a board, paused."""
    return await build()


@pytest.fixture
async def make_chardev(context: AioContext) -> AsyncIterator[MakeChardev]:
    """``await make_chardev(mux=...)``; closed after the test."""
    chardevs: list[MemoryChardev] = []

    async def make(mux: bool = False) -> MemoryChardev:
        chardev = MemoryChardev(ChardevOptions(mux=mux), "mon", context)
        await chardev.open()
        chardevs.append(chardev)
        return chardev

    yield make
    for chardev in chardevs:
        await chardev.close()


@pytest.fixture
async def attach(machine: Machine) -> AsyncIterator[Attach]:
    """``attach(chardev)``: a monitor on it; closed after the test."""
    monitors: list[HumanMonitor] = []

    def make(chardev: MemoryChardev) -> HumanMonitor:
        monitor = HumanMonitor(Control(machine), chardev, "mon")
        monitor.attach()
        monitors.append(monitor)
        return monitor

    yield make
    for monitor in monitors:
        await monitor.close()


async def answered(chardev: MemoryChardev, prompts: int) -> str:
    """All output, once it has that many prompts and ends with one."""
    await until(lambda: chardev.sent.count(PROMPT.encode()) >= prompts and chardev.sent.endswith(PROMPT.encode()))
    return chardev.sent.decode()


# ---- alone


async def test_monitor_greets_and_prompts(make_chardev: MakeChardev, attach: Attach) -> None:
    chardev = await make_chardev()

    attach(chardev)

    assert chardev.sent.decode() == GREETED


async def test_line_is_echoed_run_and_answered(make_chardev: MakeChardev, attach: Attach) -> None:
    chardev = await make_chardev()
    attach(chardev)

    chardev.type(b"info status\r")

    assert await answered(chardev, 2) == f"{GREETED}info status\r\n{STATUS}{PROMPT}"


async def test_lines_typed_ahead_run_one_after_the_other(make_chardev: MakeChardev, attach: Attach) -> None:
    chardev = await make_chardev()
    attach(chardev)

    chardev.type(b"p 1\np 2\np 3")

    await until(lambda: chardev.sent.endswith(b"p 3"))
    assert chardev.sent.decode() == f"{GREETED}p 1\r\n0x1\r\n{PROMPT}p 2\r\n0x2\r\n{PROMPT}p 3"


async def test_more_than_is_read_at_once_is_all_taken(make_chardev: MakeChardev, attach: Attach) -> None:
    chardev = await make_chardev()
    attach(chardev)
    count = READ_SIZE // 2

    chardev.type(b"p 1\n" * count)

    assert (await answered(chardev, count + 1)).count("0x1\r\n") == count


async def test_tab_completes_what_there_is_one_of(make_chardev: MakeChardev, attach: Attach) -> None:
    chardev = await make_chardev()
    attach(chardev)

    chardev.type(b"info stat\t\r")

    assert await answered(chardev, 2) == f"{GREETED}info status \r\n{STATUS}{PROMPT}"


async def test_history_is_shown_and_walked(make_chardev: MakeChardev, attach: Attach) -> None:
    chardev = await make_chardev()
    attach(chardev)

    chardev.type(b"p 1\ninfo history\n\x1b[A\x1b[A\n")

    text = await answered(chardev, 4)
    assert "0: 'p 1'\r\n1: 'info history'\r\n" in text
    assert text.endswith(f"p 1\x1b[K\r\n0x1\r\n{PROMPT}")


async def test_slow_terminal_gets_all_and_stops_what_is_typed(make_chardev: MakeChardev, attach: Attach) -> None:
    chardev = await make_chardev()
    monitor = attach(chardev)
    chardev.limit = len(chardev.sent)
    chardev.type(b"xp/60000xb 0x80000000\n")
    # The chardev's own buffer is full, and the monitor has the rest.
    await until(lambda: monitor.can_receive() == 0 and chardev.unsent > 60_000)
    await until(lambda: monitor._running is None)
    chardev.type(b"p 7\n")

    assert chardev.untyped == b"p 7\n"
    chardev.accept()
    text = await answered(chardev, 3)
    assert text.count("0x00") == 60000
    assert text.endswith(f"{PROMPT}p 7\r\n0x7\r\n{PROMPT}")


async def test_bug_in_a_command_is_told_and_the_monitor_goes_on(
    make_chardev: MakeChardev, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(session: Session) -> None:
        raise ZeroDivisionError("oops")

    seen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, details: seen.append(details["exception"]))
    monkeypatch.setitem(table.COMMANDS, "broken", table.HmpCommand("broken", "", "", broken))
    chardev = await make_chardev()
    attach(chardev)

    chardev.type(b"broken\np 1\n")

    assert "broken\r\nError: internal error: ZeroDivisionError\r\n(qemu) p 1\r\n0x1\r\n" in await answered(chardev, 3)
    assert [type(error) for error in seen] == [ZeroDivisionError]


async def test_next_client_gets_a_greeting_and_nothing_of_the_last_one(
    make_chardev: MakeChardev, attach: Attach
) -> None:
    chardev = await make_chardev()
    attach(chardev)
    chardev.type(b"qui")
    chardev.event(ChardevEvent.CLOSED)
    chardev.sent = b""

    chardev.event(ChardevEvent.OPENED)
    chardev.type(b"p 1\n")

    assert await answered(chardev, 2) == f"{GREETED}p 1\r\n0x1\r\n{PROMPT}"


async def test_second_front_end_of_a_chardev_is_refused(make_chardev: MakeChardev, attach: Attach) -> None:
    chardev = await make_chardev()
    attach(chardev)

    with pytest.raises(ValueError, match="has a front end already"):
        attach(chardev)


async def test_close_ends_a_command_that_runs(
    make_chardev: MakeChardev, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def endless(session: Session) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setitem(table.COMMANDS, "endless", table.HmpCommand("endless", "", "", endless))
    chardev = await make_chardev()
    monitor = attach(chardev)
    chardev.type(b"endless\n")
    await entered.wait()

    await monitor.close()

    assert ended.is_set()
    assert chardev.frontend is None


async def test_new_back_end_of_the_chardev_is_written_to(make_chardev: MakeChardev, attach: Attach) -> None:
    old, new = await make_chardev(), await make_chardev()
    monitor = attach(old)

    monitor.chardev_changed(new)
    old.type(b"x")

    assert new.sent == b"x"


async def test_quit_ends_the_machine(make_chardev: MakeChardev, attach: Attach, machine: Machine) -> None:
    chardev = await make_chardev()
    attach(chardev)

    chardev.type(b"q\n")
    await machine.wait_for_exit()

    assert machine.state is RunState.SHUTDOWN


# ---- on a mux


async def test_mux_monitor_is_silent_until_it_has_the_focus(make_chardev: MakeChardev, attach: Attach) -> None:
    chardev = await make_chardev(mux=True)
    console = Recorder()
    chardev.attach(console)
    attach(chardev)
    before = chardev.sent

    chardev.type(b"ls\n\x01c")

    assert (before, console.received) == (b"", b"ls\n")
    assert chardev.sent.decode() == GREETED


async def test_mux_second_visit_has_a_prompt_and_no_greeting(make_chardev: MakeChardev, attach: Attach) -> None:
    chardev = await make_chardev(mux=True)
    console = Recorder()
    chardev.attach(console)
    attach(chardev)

    chardev.type(b"\x01cp\x01cls\n\x01c")

    assert chardev.sent.decode() == f"{GREETED}p\r\n{PROMPT}"
    assert console.received == b"ls\n"


async def test_mux_answer_that_comes_while_another_has_the_focus_waits(
    make_chardev: MakeChardev, attach: Attach
) -> None:
    chardev = await make_chardev(mux=True)
    chardev.attach(Recorder())
    monitor = attach(chardev)
    chardev.type(b"\x01cp 1\n\x01c")
    await until(lambda: monitor._running is None)
    before = chardev.sent.decode()

    chardev.type(b"\x01c")

    assert before == f"{GREETED}p 1\r\n"
    assert chardev.sent.decode() == f"{GREETED}p 1\r\n0x1\r\n{PROMPT}{PROMPT}"


# ---- made when it is needed


async def test_lazy_monitor_is_made_at_the_first_focus(make_chardev: MakeChardev, machine: Machine) -> None:
    chardev = await make_chardev(mux=True)
    chardev.attach(Recorder())
    monitor = LazyMonitor(machine, chardev)
    before = chardev.sent

    chardev.type(b"\x01cinfo status\n")
    text = await answered(chardev, 2)
    await monitor.close()

    assert before == b""
    assert text == f"{GREETED}info status\r\n{STATUS}{PROMPT}"


async def test_lazy_monitor_that_nobody_asked_for_leaves(make_chardev: MakeChardev, machine: Machine) -> None:
    chardev = await make_chardev(mux=True)
    console = Recorder()
    chardev.attach(console)
    monitor = LazyMonitor(machine, chardev)

    await monitor.close()
    chardev.type(b"\x01cls")

    assert console.received == b"ls"
    assert b"no monitor here" in chardev.sent


async def test_default_monitor_without_a_terminal_is_none(machine: Machine) -> None:
    assert attach_default(machine) is None


async def test_default_monitor_is_on_the_stdio_that_the_console_shares(build: Build, tmp_path: Path) -> None:
    machine = await build(chardev=[{"id": "console", "backend": "stdio", "mux": True}])

    monitor = attach_default(machine)

    assert monitor is not None
    assert attach_default(machine, {"console"}) is None
    await monitor.close()
