# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace events, switched on and off."""

from __future__ import annotations

from asyncemu.monitor.hmp.arguments import EventName, OnOff
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command


@hmp_command("trace-event", "name on|off", "changes status of a specific trace event")
async def trace_event(session: Session, name: EventName, option: OnOff) -> None:
    """QMP: trace-event-set-state; ``name`` may be a pattern."""
    await session.say_refusal(session.qmp("trace-event-set-state", name=name, enable=option))


@hmp_command("info trace-events", "[name]", "show available trace-events & their state (name: event name pattern)")
async def info_trace_events(session: Session, name: EventName | None = None) -> None:
    """QMP: trace-event-get-state."""
    for each in await session.say_refusal(session.qmp("trace-event-get-state", name=name or "*")):
        session.print(f"{each['name']} : state {int(each['state'] == 'enabled')}\n")
