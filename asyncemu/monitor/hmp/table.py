# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of HMP commands: each an async function whose signature says what it takes.

    @hmp_command("set_link", "name on|off", "change the link status of a network adapter")
    async def set_link(session: Session, name: LinkName, up: OnOff) -> None: ...

It prints by ``session.print`` and fails by raising: AsyncemuError is "Error: ...", LineFault is as it reads.
"cont|c" is a command of two names; "info status" is found by ``info`` first and ``status`` second.
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

from asyncemu.monitor.hmp.arguments import ArgumentType, Flag, Situation
from asyncemu.monitor.hmp.scanner import LineFault, Scanner

HandlerT = TypeVar("HandlerT", bound=Callable[..., Awaitable[None]])


class Parameter(NamedTuple):
    """One argument of a command."""

    name: str
    type: ArgumentType
    optional: bool


class HmpCommand:
    """A function, its names, and its line of help."""

    def __init__(self, names: str, usage: str, help: str, function: Callable[..., Awaitable[None]]) -> None:
        #: As faults and help have them: "cont|c", "status" (of "info status").
        self.called = names.removeprefix("info ")
        self.is_info = names.startswith("info ")
        self.names = self.called.split("|")
        self.usage = usage
        self.help = help
        self.function = function
        self._parameters: list[Parameter] | None = None

    @property
    def parameters(self) -> list[Parameter]:
        """What it takes, in order; resolved when it is needed first."""
        if self._parameters is None:
            module = vars(importlib.import_module(self.function.__module__))
            hints = typing.get_type_hints(self.function, module, _annotations(), include_extras=True)
            self._parameters = [
                Parameter(name, _type_of(hints[name]), parameter.default is not inspect.Parameter.empty)
                for name, parameter in list(inspect.signature(self.function).parameters.items())[1:]
            ]
        return self._parameters

    def parse(self, scanner: Scanner, situation: Situation) -> dict[str, Any]:
        """The arguments by name, those left out without an entry. Raises LineFault."""
        situation.flags = "".join(each.type.letter for each in self.parameters if isinstance(each.type, Flag))
        arguments = {}
        for parameter in self.parameters:
            value = parameter.type.parse(scanner, situation, parameter.optional)
            if value is not None:
                arguments[parameter.name] = value
        scanner.skip_spaces()
        if scanner.next:
            raise LineFault(f"{self.called}: extraneous characters at the end of line")
        return arguments

    def describe(self) -> str:
        """Its line of ``help``."""
        return f"{'info ' if self.is_info else ''}{self.called} {self.usage} -- {self.help}\n"


def _type_of(hint: Any) -> ArgumentType:
    for each in getattr(hint, "__metadata__", ()):
        if isinstance(each, ArgumentType):
            return each
    # Annotated within a union with None.
    for each in typing.get_args(hint):
        if hasattr(each, "__metadata__"):
            return _type_of(each)
    raise TypeError(f"{hint} is no type of an argument")


def _annotations() -> dict[str, Any]:
    from asyncemu.monitor.hmp.session import Session

    return {"Session": Session}


#: By each of their names.
COMMANDS: Final[dict[str, HmpCommand]] = {}
#: Of ``info``, by name.
INFO_COMMANDS: Final[dict[str, HmpCommand]] = {}


def hmp_command(names: str, usage: str, help: str) -> Callable[[HandlerT], HandlerT]:
    """Register the function; ``names`` are QEMU's, "info X" is X of ``info``."""

    def register(function: HandlerT) -> HandlerT:
        command = HmpCommand(names, usage, help, function)
        table = INFO_COMMANDS if command.is_info else COMMANDS
        for name in command.names:
            if name in table:
                raise ValueError(f"there are two commands {name!r}")
            table[name] = command
        return function

    return register


def load() -> None:
    """Have all commands in the table."""
    import asyncemu.monitor.hmp.commands  # noqa: F401


def in_order(table: dict[str, HmpCommand]) -> list[HmpCommand]:
    """Each command of a table once, by name."""
    return sorted({id(command): command for command in table.values()}.values(), key=lambda each: each.called)
