# SPDX-License-Identifier: GPL-2.0-or-later
"""Control: a machine together with those who command it. Every command of every monitor comes through ``execute``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from asyncemu.errors import AsyncemuError
from asyncemu.fdsets import Fdsets
from asyncemu.loop import home
from asyncemu.monitor.command import Call, Command, find
from asyncemu.monitor.errors import CommandNotFound, explain
from asyncemu.monitor.validation import arguments_error, unexpected
from asyncemu.wire_model import WireModel

if TYPE_CHECKING:
    from asyncemu.machine import Machine
    from asyncemu.monitor.monitor import Monitor


class Control:
    """Home: the machine's."""

    def __init__(self, machine: Machine) -> None:
        self.context = machine.context
        self.machine = machine
        #: What clients have handed over by add-fd.
        self.fdsets = Fdsets()

    @home
    async def execute(
        self, name: str, arguments: Mapping[str, Any] | None = None, monitor: Monitor | None = None
    ) -> Any:
        """Run a command to its end; the JSON value of its reply's ``return``.

        ``monitor``: the one that it came by. Raises QmpError. A bug in a command comes out as it is.
        """
        command = find(name)
        if command is None:
            raise CommandNotFound(f"The command {name} has not been found")
        return await run(command, Call(self, monitor), arguments or {})


async def run(command: Command, call: Call, arguments: Mapping[str, Any]) -> Any:
    """Check the arguments, run, and make the result JSON. Raises QmpError."""
    try:
        if command.arguments is None:
            if arguments:
                raise unexpected(arguments)
            result = await command.function(call)
        else:
            result = await command.function(call, command.arguments.model_validate(arguments))
    except ValidationError as error:
        raise arguments_error(error, arguments) from None
    except AsyncemuError as error:
        raise explain(error) from error
    return to_wire(result)


def to_wire(result: Any) -> Any:
    """A command's result as JSON."""
    match result:
        case None:
            return {}
        case WireModel():
            return result.to_wire()
        case list():
            return [to_wire(each) for each in result]
        case _:
            return result
