# SPDX-License-Identifier: GPL-2.0-or-later
"""Let the machine run, stop it, reset it, end it."""

from __future__ import annotations

from typing import Literal

from asyncemu.events import Powerdown
from asyncemu.monitor.command import Call, command
from asyncemu.wire_model import WireModel


class StatusInfo(WireModel):
    """QEMU: StatusInfo."""

    running: bool
    singlestep: bool
    status: Literal["prelaunch", "running", "paused", "io-error", "shutdown", "guest-panicked", "internal-error"]


@command("query-status")
async def query_status(call: Call) -> StatusInfo:
    """What the machine is doing."""
    state = call.control.machine.state
    return StatusInfo(running=state.value == "running", singlestep=False, status=state.value)


@command("stop")
async def stop(call: Call) -> None:
    """The guest stands still until ``cont``."""
    await call.control.machine.pause()


@command("cont")
async def cont(call: Call) -> None:
    """The guest runs."""
    call.control.machine.resume()


@command("system_reset")
async def system_reset(call: Call) -> None:
    """As by the reset button: begun, and not waited for."""
    call.control.machine.request_reset()


@command("system_powerdown")
async def system_powerdown(call: Call) -> None:
    """Ask the guest to power off. The board has no power button: the event is all."""
    call.control.machine.events.emit(Powerdown())


@command("quit")
async def quit(call: Call) -> None:
    """End the machine, and the program."""
    call.control.machine.quit()
