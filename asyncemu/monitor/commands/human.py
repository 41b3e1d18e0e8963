# SPDX-License-Identifier: GPL-2.0-or-later
"""human-monitor-command: a line of the human monitor's by way of QMP."""

from __future__ import annotations

from asyncemu.monitor.command import Call, command
from asyncemu.wire_model import WireModel


class HumanMonitorCommandArguments(WireModel):
    """Of human-monitor-command."""

    command_line: str
    cpu_index: int | None = None


@command("human-monitor-command")
async def human_monitor_command(call: Call, arguments: HumanMonitorCommandArguments) -> str:
    """What the human monitor would print, errors too; lines end as on a terminal, as QEMU's do."""
    from asyncemu.monitor import hmp

    text = await hmp.execute(call.control, arguments.command_line, arguments.cpu_index)
    return text.replace("\n", "\r\n")
