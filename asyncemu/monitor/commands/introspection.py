# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is to command: the names, and the types."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, Final

from asyncemu.events import Event
from asyncemu.monitor import command as commands
from asyncemu.monitor.command import Call, command
from asyncemu.wire_model import WireModel

#: Modules that define events and may not be imported before these happen.
_EVENT_MODULES: Final = ("asyncemu.block.events", "asyncemu.net.events", "asyncemu.machine.dump.guest_dump")


class CommandInfo(WireModel):
    """QEMU: CommandInfo."""

    name: str


@command("query-commands", anywhere=True)
async def query_commands(call: Call) -> list[CommandInfo]:
    """All that a monitor obeys."""
    return [CommandInfo(name=name) for name in commands.names()]


class EventInfo(WireModel):
    """QEMU's of 5.2: EventInfo."""

    name: str


@command("query-events")
async def query_events(call: Call) -> list[EventInfo]:
    """All events that there are, for clients that are older than query-qmp-schema, which QEMU 6.0 left alone."""
    return [EventInfo(name=name) for name in _events()]


@command("query-qmp-schema")
async def query_qmp_schema(call: Call) -> list[dict[str, Any]]:
    """The commands' and the events' types; monitor/schema.py says how they are written."""
    # Once, and not here: every command and every plug-in is imported for it.
    return await call.control.context.worker_pool.run(_schema)


@cache
def _schema() -> list[dict[str, Any]]:
    from asyncemu.monitor.schema import build
    from asyncemu.plugins import load_all

    load_all()
    found = [each for name in commands.names() if (each := commands.find(name)) is not None]
    return build(found, list(_events().values()))


def _events() -> dict[str, type[Event]]:
    """All that are defined anywhere, by name."""
    for module in _EVENT_MODULES:
        importlib.import_module(module)
    return dict(sorted(Event.registry.items()))
