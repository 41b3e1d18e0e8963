# SPDX-License-Identifier: GPL-2.0-or-later
"""Let the machine run, stop it, reset it, end it; and what follows when its guest does so."""

from __future__ import annotations

from typing import Literal

from asyncemu.block.control.changes import reset_io_statuses
from asyncemu.events import Powerdown
from asyncemu.machine import Machine
from asyncemu.machine.run_state import NEEDS_RESET
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import QmpError
from asyncemu.wire_model import WireModel


class StatusInfo(WireModel):
    """QEMU: StatusInfo."""

    running: bool
    singlestep: bool
    status: Literal["prelaunch", "running", "paused", "io-error", "shutdown", "guest-panicked", "internal-error"]


class SetActionArguments(WireModel):
    """Of set-action; what is not given stays as it is. No board has a watchdog."""

    reboot: Literal["reset", "shutdown"] | None = None
    shutdown: Literal["poweroff", "pause"] | None = None
    panic: Literal["pause", "shutdown", "exit-failure", "none"] | None = None


@command("query-status", anywhere=True)
async def query_status(call: Call) -> StatusInfo:
    """What the machine is doing."""
    state = call.control.machine.state
    return StatusInfo(running=state.value == "running", singlestep=False, status=state.value)


@command("stop")
async def stop(call: Call) -> None:
    """The guest stands still until ``cont``."""
    machine = call.control.machine
    _check_no_dump(machine)
    await machine.wait_settled()
    await machine.pause()


@command("cont")
async def cont(call: Call) -> None:
    """The guest runs."""
    machine = call.control.machine
    _check_no_dump(machine)
    await machine.wait_settled()
    if machine.state in NEEDS_RESET:
        raise QmpError("Resetting the Virtual Machine is required")
    await reset_io_statuses(machine.block)
    machine.resume()


@command("system_reset")
async def system_reset(call: Call) -> None:
    """As by the reset button."""
    await call.control.machine.system_reset()


@command("system_powerdown")
async def system_powerdown(call: Call) -> None:
    """Ask the guest to power off. The board has no power button: the event is all."""
    call.control.machine.events.emit(Powerdown())


@command("quit")
async def quit(call: Call) -> None:
    """End the machine, and the program."""
    call.control.machine.quit()


@command("set-action")
async def set_action(call: Call, arguments: SetActionArguments) -> None:
    """What follows when the guest reboots, shuts down or fails."""
    machine = call.control.machine
    machine.actions = machine.actions.model_copy(update=arguments.to_wire())


def _check_no_dump(machine: Machine) -> None:
    if machine.dump.active:
        raise QmpError("There is a dump in process, please wait.")
