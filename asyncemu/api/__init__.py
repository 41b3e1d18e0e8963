# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines in the hands of async programs: ``async with asyncemu.Machine("vm.toml") as vm``."""

from asyncemu.api.console import Console, ConsoleEnded, ConsoleError, ConsoleTimeout
from asyncemu.api.event_stream import EventsMissed, EventStream
from asyncemu.api.machine import Machine, NoConsole
from asyncemu.api.shell import CommandFailed, CommandResult, Shell

__all__ = [
    "CommandFailed",
    "CommandResult",
    "Console",
    "ConsoleEnded",
    "ConsoleError",
    "ConsoleTimeout",
    "EventStream",
    "EventsMissed",
    "Machine",
    "NoConsole",
    "Shell",
]
