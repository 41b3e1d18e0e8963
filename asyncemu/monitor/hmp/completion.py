# SPDX-License-Identifier: GPL-2.0-or-later
"""What Tab offers: names of commands, and of what their arguments may be."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from typing import Final

from asyncemu.machine.object_types import options_types
from asyncemu.monitor.hmp.arguments import Flag
from asyncemu.monitor.hmp.readline import COMPLETIONS
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import COMMANDS, INFO_COMMANDS, HmpCommand
from asyncemu.plugins import names

#: Entries of a directory that are looked at. Arbitrary: some ms.
_ENTRIES: Final = 10_000


async def complete(session: Session, text: str) -> tuple[str, list[str]]:
    """The last word of ``text``, which may be empty, and what begins with it and may stand in its place."""
    words = text.split()
    if not words or text[-1].isspace():
        words.append("")
    *before, word = words
    kind = _kind(before)
    if kind == "file":
        choices: Iterable[str] = await session.context.worker_pool.run(_files, word)
    elif kind == "trace-event":
        choices = await _trace_events(session)
    else:
        choices = _choices(session, kind)
    found = islice((each for each in choices if each.startswith(word)), COMPLETIONS)
    return word, list(found)


def _kind(before: list[str]) -> str:
    """What the word behind the words ``before`` is; empty: nobody knows."""
    if not before:
        return "command"
    name, *arguments = before
    if name in ("help", "?"):
        return {0: "command", 1: "info" if arguments == ["info"] else ""}.get(len(arguments), "")
    table: dict[str, HmpCommand] = COMMANDS
    if name == "info":
        if not arguments:
            return "info"
        name, *arguments = arguments
        table = INFO_COMMANDS
    command = table.get(name.partition("/")[0])
    if command is None:
        return ""
    parameters = [each for each in command.parameters if not isinstance(each.type, Flag)]
    position = sum(not each.startswith("-") for each in arguments)
    return parameters[position].type.completes if position < len(parameters) else ""


def _files(prefix: str) -> list[str]:
    """Names of files that begin with ``prefix``, directories with a slash. In a worker thread."""
    directory, _, start = prefix.rpartition("/")
    found = []
    try:
        with os.scandir(f"{directory}/" if "/" in prefix else ".") as entries:
            for entry in islice(entries, _ENTRIES):
                if entry.name.startswith(start):
                    name = f"{directory}/{entry.name}" if "/" in prefix else entry.name
                    found.append(name + ("/" if entry.is_dir() else ""))
    except OSError:
        return []
    return sorted(found)[:COMPLETIONS]


async def _trace_events(session: Session) -> list[str]:
    return [each["name"] for each in await session.qmp("trace-event-get-state", name="*")]


def _choices(session: Session, kind: str) -> Iterable[str]:
    machine = session.machine
    match kind:
        case "command":
            return COMMANDS
        case "info":
            return INFO_COMMANDS
        case "on-off":
            return ("on", "off")
        case "block":
            return (*machine.block.nodes, *machine.devices)
        case "device":
            return machine.devices
        case "netdev":
            return machine.net.netdevs
        case "link":
            return (*machine.net.netdevs, *machine.net.nics)
        case "chardev":
            return machine.chardevs
        case "ringbuf":
            return [chardev.id for chardev in machine.chardevs.values() if chardev.name == "ringbuf"]
        case "object":
            return [id for id, _ in machine.objects.all()]
        case "object-type":
            return options_types()
        case "device-type" | "netdev-type" | "chardev-type":
            return names(kind.removesuffix("-type"))
    return ()
