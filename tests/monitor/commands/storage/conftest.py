# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines without a CPU, whose commands are executed in process; and QEMU, to be asked the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from asyncemu.config.load import check
from asyncemu.events import Event
from asyncemu.loop import AioContext
from asyncemu.monitor.control import Control
from asyncemu.monitor.errors import QmpError
from tests.monitor.commands.storage.qemu import Commands, Replies


class Commander:
    """A machine's control, with replies as they go over the wire."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.machine = control.machine
        self.events: list[Event] = []
        self.machine.events.subscribe(lambda occurrence: self.events.append(occurrence.event))

    async def ask(self, name: str, /, **arguments: Any) -> Any:
        """The value of ``return``; QmpError. An underscore in a name stands for a hyphen, two for one."""
        table = {_member(key): value for key, value in arguments.items()}
        return await self.control.execute(name, table)

    async def reply(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The whole reply."""
        try:
            return {"return": await self.control.execute(name, arguments)}
        except QmpError as error:
            return {"error": error.to_wire()}

    async def replies(self, commands: Commands) -> Replies:
        """One after the other."""
        return [await self.reply(name, arguments) for name, arguments in commands]

    async def error(self, name: str, /, **arguments: Any) -> tuple[str, str]:
        """Class and description of the error that it must be."""
        with pytest.raises(QmpError) as caught:
            await self.ask(name, **arguments)
        return caught.value.error_class, str(caught.value)


def _member(key: str) -> str:
    return key.replace("__", "\0").replace("_", "-").replace("\0", "_")


Command = Callable[..., Awaitable[Commander]]


@pytest.fixture
async def command(context: AioContext, tmp_path: Path) -> AsyncIterator[Command]:
    """``await command(**tables)``: a machine that is built, and closed after the test."""
    machines = []

    async def build(**tables: Any) -> Commander:
        options = {"memory": "8MiB", "qtest": "unix:qtest.sock", **tables.pop("machine", {})}
        machine = check({"machine": options, **tables}, tmp_path).make_machine(context)
        machines.append(machine)
        await machine.build()
        return Commander(Control(machine))

    yield build
    for machine in machines:
        await machine.close()
