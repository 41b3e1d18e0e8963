# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands: async functions with typed arguments and results, each in a file by its subject.

    class BlockResize(WireModel):
        node_name: str | None = None
        size: int

    @command("block_resize")
    async def block_resize(call: Call, arguments: BlockResize) -> None: ...

The signature says all: a command without a second parameter takes no arguments; the result is a WireModel, a list of
them, a plain JSON value, or None for QMP's empty object. A command raises QmpError, or any AsyncemuError.
Commands run one after the other in the machine's home. One that ``allow_oob`` may be executed out of band, too: in the
monitor's own thread, while another one runs; it may touch what any thread may touch only, and never waits. A command
``anywhere`` is like that, too, but for its place among the client's other commands: a monitor answers it without asking
the main loop when nothing else of that client is under way.
Which module has which command is a table (commands/__init__.py), so that nothing is imported before it is needed.
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asyncemu.wire_model import WireModel

if TYPE_CHECKING:
    from asyncemu.monitor.control import Control
    from asyncemu.monitor.monitor import Monitor

HandlerT = TypeVar("HandlerT", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, and of what."""

    control: Control
    #: The monitor that the command came by; None: the caller's own program (Python API).
    monitor: Monitor | None = None


class Command:
    """A function and what it takes and gives."""

    def __init__(
        self, name: str, function: Callable[..., Awaitable[Any]], allow_oob: bool, anywhere: bool = False
    ) -> None:
        self.name = name
        self.function = function
        self.allow_oob = allow_oob
        self.anywhere = anywhere
        parameters = list(inspect.signature(function).parameters)
        # Resolved once, and not before the command is used: the module is whole then.
        self._takes_arguments = len(parameters) > 1
        self._types: tuple[type[WireModel] | None, Any] | None = None

    @property
    def arguments(self) -> type[WireModel] | None:
        """The type of the arguments; None: there are none."""
        return self._resolved()[0]

    @property
    def result(self) -> Any:
        """The type of the result, as annotated."""
        return self._resolved()[1]

    def _resolved(self) -> tuple[type[WireModel] | None, Any]:
        if self._types is None:
            hints = typing.get_type_hints(
                self.function,
                vars(importlib.import_module(self.function.__module__)),
                _annotations(),
                include_extras=True,
            )
            arguments = hints.get("arguments") if self._takes_arguments else None
            self._types = arguments, hints["return"]
        return self._types


def _annotations() -> dict[str, Any]:
    from asyncemu.monitor.control import Control

    return {"Call": Call, "Control": Control}


#: The commands whose modules are imported, by name.
_registered: Final[dict[str, Command]] = {}


def command(name: str, *, allow_oob: bool = False, anywhere: bool = False) -> Callable[[HandlerT], HandlerT]:
    """Register the function under QEMU's ``name``."""

    def register(function: HandlerT) -> HandlerT:
        if name in _registered:
            raise ValueError(f"there are two commands {name!r}")
        _registered[name] = Command(name, function, allow_oob, anywhere)
        return function

    return register


def find(name: str) -> Command | None:
    """The command ``name``, its module imported; None: there is none."""
    from asyncemu.monitor.commands import COMMANDS

    module = COMMANDS.get(name)
    if module is None:
        return None
    importlib.import_module(module)
    return _registered[name]


def names() -> list[str]:
    """All commands' names, sorted; imports nothing."""
    from asyncemu.monitor.commands import COMMANDS

    return sorted(COMMANDS)
