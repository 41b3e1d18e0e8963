# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine in this process, and somebody who commands it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asyncemu.events import Event, Occurrence
from asyncemu.machine import Machine
from asyncemu.monitor.control import Control
from asyncemu.monitor.errors import QmpError
from tests.machine.conftest import make

__all__ = ["make"]

#: A guest that counts.
COUNT = "la t0, counter; 1: ld t1, 0(t0); addi t1, t1, 1; sd t1, 0(t0); j 1b; .balign 8; counter: .quad 0"


class Commander:
    """Executes commands, and notes the events."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.control = Control(machine)
        self.occurred: list[Event] = []
        machine.events.subscribe(self._heard)

    def _heard(self, occurrence: Occurrence) -> None:
        self.occurred.append(occurrence.event)

    @property
    def events(self) -> list[str]:
        """The names of all events so far."""
        return [event.wire_name for event in self.occurred]

    async def __call__(self, command: str, **arguments: Any) -> Any:
        """Execute a command; underscores in names of arguments are dashes."""
        return await self.control.execute(command, {name.replace("_", "-"): each for name, each in arguments.items()})

    async def refusal(self, command: str, **arguments: Any) -> tuple[str, str]:
        """Execute a command that fails: the class and the description."""
        with pytest.raises(QmpError) as caught:
            await self(command, **arguments)
        return caught.value.error_class, str(caught.value)


Start = Callable[..., Awaitable[Commander]]


@pytest.fixture
def start(make: Callable[..., Machine]) -> Start:
    """``start(source, **tables)``: a machine that has been started; paused unless there is a ``source``."""

    async def started(source: str = "", **tables: Any) -> Commander:
        options = {"paused": not source, **tables.pop("machine", {})}
        machine = make(source, machine=options, **tables)
        await machine.build()
        commander = Commander(machine)
        machine.start()
        return commander

    return started
