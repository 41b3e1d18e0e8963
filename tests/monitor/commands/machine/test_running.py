# SPDX-License-Identifier: GPL-2.0-or-later
"""stop, cont, system_reset and what follows from set-action: states and events in the order that QEMU has."""

from __future__ import annotations

import asyncio

import pytest

from asyncemu.events import GuestPanicked, Reset, Shutdown
from asyncemu.machine import ExitReason
from tests.monitor.commands.machine.conftest import COUNT, Commander, Start

FINISH = "li t0, 0x100000; li t1, {value}; sw t1, 0(t0); 1: j 1b"
FAIL = FINISH.format(value=0x13333)
POWER_OFF = FINISH.format(value=0x5555)
REBOOT = FINISH.format(value=0x7777)


async def heard(vm: Commander, name: str) -> None:
    """Until an event has been emitted."""
    async with asyncio.timeout(30):
        while name not in vm.events:
            await asyncio.sleep(0)


async def test_paused_machine_cont_stop_reset_has_qemus_states_and_events(start: Start) -> None:
    vm = await start()
    states = [await vm("query-status")]
    for command in ("cont", "cont", "stop", "stop", "system_reset", "cont", "system_reset", "system_powerdown"):
        await vm(command)
        states.append(await vm("query-status"))

    assert [state["status"] for state in states] == [
        "prelaunch",
        "running",
        "running",
        "paused",
        "paused",
        "prelaunch",
        "running",
        "running",
        "running",
    ]
    assert vm.events == ["RESUME", "STOP", "RESET", "RESUME", "RESET", "POWERDOWN"]


async def test_query_status_tells_whether_it_runs(start: Start) -> None:
    vm = await start(COUNT)

    assert await vm("query-status") == {"running": True, "singlestep": False, "status": "running"}


async def test_system_reset_names_who_asked(start: Start) -> None:
    vm = await start()

    await vm("system_reset")

    assert vm.occurred == [Reset(guest=False, reason="host-qmp-system-reset")]


async def test_reset_of_the_guest_names_the_guest(start: Start) -> None:
    vm = await start(REBOOT)

    await heard(vm, "RESET")

    assert vm.occurred[1] == Reset(guest=True, reason="guest-reset")


async def test_set_action_reboot_shutdown_ends_the_machine_at_a_reset(start: Start) -> None:
    vm = await start()
    await vm("set-action", reboot="shutdown")

    await vm("system_reset")

    assert vm.occurred == [Shutdown(guest=False, reason="host-qmp-system-reset")]
    assert await vm.machine.wait_for_exit() is ExitReason.GUEST_SHUTDOWN


async def test_set_action_shutdown_pause_keeps_the_machine_and_cont_needs_a_reset(start: Start) -> None:
    vm = await start(POWER_OFF, machine={"action": {"shutdown": "pause"}})
    await heard(vm, "STOP")
    state = await vm("query-status")
    refusal = await vm.refusal("cont")
    await vm("system_reset")
    after = await vm("query-status")

    assert (state["status"], after["status"]) == ("shutdown", "prelaunch")
    assert refusal == ("GenericError", "Resetting the Virtual Machine is required")
    assert vm.events == ["RESUME", "SHUTDOWN", "STOP", "RESET"]
    assert not vm.machine.exited.done()


async def test_quit_ends_a_machine_that_would_stay(start: Start) -> None:
    vm = await start(machine={"action": {"shutdown": "pause"}})

    await vm("quit")

    assert await vm.machine.wait_for_exit() is ExitReason.QUIT
    assert vm.occurred == [Shutdown(guest=False, reason="host-qmp-quit")]


async def test_panic_pause_stops_the_guest_which_may_go_on(start: Start) -> None:
    vm = await start(FAIL, machine={"action": {"panic": "pause"}})
    await heard(vm, "STOP")
    state = await vm("query-status")
    await vm("cont")

    assert state["status"] == "guest-panicked"
    assert (await vm("query-status"))["status"] == "running"
    assert vm.occurred[1] == GuestPanicked(action="pause")


async def test_panic_none_is_told_and_nothing_more(start: Start) -> None:
    vm = await start(FAIL, machine={"action": {"panic": "none"}})
    await heard(vm, "GUEST_PANICKED")

    assert vm.occurred[1:] == [GuestPanicked(action="run")]
    assert (await vm("query-status"))["status"] == "running"


@pytest.mark.parametrize(
    ("panic", "reason"), [("shutdown", ExitReason.GUEST_SHUTDOWN), ("exit-failure", ExitReason.GUEST_FAILURE)]
)
async def test_panic_ends_the_machine_with_the_status_asked_for(start: Start, panic: str, reason: ExitReason) -> None:
    vm = await start(FAIL, machine={"action": {"panic": panic}})

    assert await vm.machine.wait_for_exit() is reason
    assert vm.occurred[1:] == [GuestPanicked(action="poweroff"), Shutdown(guest=True, reason="guest-panic")]


async def test_set_action_unknown_action_is_refused(start: Start) -> None:
    vm = await start()

    assert await vm.refusal("set-action", reboot="x") == (
        "GenericError",
        "Parameter 'reboot' does not accept value 'x'",
    )
