# SPDX-License-Identifier: GPL-2.0-or-later
"""human-monitor-command."""

from __future__ import annotations

from asyncemu.loop import AioContext
from asyncemu.machine import Machine, MachineOptions
from asyncemu.monitor.control import Control


async def test_human_monitor_command_gives_what_it_prints(context: AioContext) -> None:
    control = Control(Machine(context, MachineOptions.model_validate({"memory": 8 << 20})))

    printed = [
        await control.execute("human-monitor-command", {"command-line": line}) for line in ("info status", "nope")
    ]

    assert printed == ["VM status: paused (prelaunch)\r\n", "unknown command: 'nope'\r\n"]
