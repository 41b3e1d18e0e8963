# SPDX-License-Identifier: GPL-2.0-or-later
"""Session: what one client and a QMP monitor may say to each other, from its arrival to its leaving. Sans-IO.

    NEGOTIATING ──qmp_capabilities──▶ COMMANDS ──client leaves──▶ over; the next client has a Session of its own

The greeting offers capabilities, of which there is one: oob. Until the client has answered with qmp_capabilities, there
is no other command. With oob on, ``exec-oob`` has a command executed at once, while others wait or run.
QEMU: docs/interop/qmp-spec; the words are those of monitor/qmp.c and qapi/qmp-dispatch.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from asyncemu.monitor.command import Command, find
from asyncemu.monitor.errors import CommandNotFound, QmpError
from asyncemu.monitor.qmp.json_reader import JsonItem

#: What a client may enable.
CAPABILITIES: Final = ("oob",)

#: A request without an id; it may be any JSON value, null too.
_NO_ID: Final = object()


@dataclass(frozen=True, slots=True)
class Request:
    """One thing that a client wants; or ``error``, which is all that there is to say to it."""

    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    out_of_band: bool = False
    id: Any = _NO_ID
    error: QmpError | None = None

    def reply(self, result: Any) -> dict[str, Any]:
        """The message that says that it is done."""
        return {"return": result, **self._id()}

    def refusal(self, error: QmpError) -> dict[str, Any]:
        """The message that says that it failed."""
        return {**self._id(), "error": error.to_wire()}

    def _id(self) -> dict[str, Any]:
        return {} if self.id is _NO_ID else {"id": self.id}


class Session:
    """``take`` makes requests of what the client says; ``negotiate`` answers those until ``negotiated``."""

    def __init__(self) -> None:
        self.negotiated = False
        #: Has the client enabled out-of-band execution?
        self.oob = False

    def greeting(self, version: Mapping[str, Any]) -> dict[str, Any]:
        """The first thing that a client reads; ``version`` is query-version's result."""
        return {"QMP": {"version": version, "capabilities": list(CAPABILITIES)}}

    def take(self, item: JsonItem) -> Request:
        """What the client wants."""
        if item.error:
            return Request(error=QmpError(item.error))
        message = item.value
        if not isinstance(message, dict):
            return Request(error=QmpError("QMP input must be a JSON object"))
        id = message.get("id", _NO_ID)
        out_of_band = "exec-oob" in message and "execute" not in message
        if (error := self._fault(message)) is not None:
            return Request(out_of_band=out_of_band, id=id, error=error)
        name = message["exec-oob" if out_of_band else "execute"]
        if out_of_band and (error := _fault_out_of_band(name)) is not None:
            return Request(out_of_band=True, id=id, error=error)
        return Request(name, message.get("arguments", {}), out_of_band, id)

    def _fault(self, message: Mapping[str, Any]) -> QmpError | None:
        """What is wrong with a message's members."""
        # exec-oob before execute: whether it may be there at all is said first.
        for name, value in sorted(message.items(), key=lambda member: member[0] != "exec-oob"):
            match name:
                case "execute" | "exec-oob":
                    if name == "exec-oob" and not self.oob:
                        return QmpError("QMP input member 'exec-oob' is unexpected")
                    if not isinstance(value, str):
                        return QmpError(f"QMP input member '{name}' must be a string")
                    if "execute" in message and "exec-oob" in message:
                        return QmpError("QMP input member 'execute' clashes with 'exec-oob'")
                case "arguments":
                    if not isinstance(value, dict):
                        return QmpError("QMP input member 'arguments' must be an object")
                case "id":
                    pass
                case _:
                    return QmpError(f"QMP input member '{name}' is unexpected")
        if "execute" not in message and "exec-oob" not in message:
            return QmpError("QMP input lacks member 'execute'")
        return None

    def negotiate(self, request: Request) -> dict[str, Any]:
        """The answer to a request before ``negotiated``. Raises nothing."""
        if request.error is not None:
            return request.refusal(request.error)
        if request.name != "qmp_capabilities":
            return request.refusal(CommandNotFound("Expecting capabilities negotiation with 'qmp_capabilities'"))
        try:
            self.oob = "oob" in _enabled(request.arguments)
        except QmpError as error:
            return request.refusal(error)
        self.negotiated = True
        return request.reply({})


def _fault_out_of_band(name: str) -> QmpError | None:
    command = find_checked(name)
    if isinstance(command, QmpError):
        return command
    if not command.allow_oob:
        return QmpError(f"The command {name} does not support OOB")
    return None


def find_checked(name: str) -> Command | QmpError:
    """The command of that name, or what the client is told."""
    return find(name) or CommandNotFound(f"The command {name} has not been found")


def _enabled(arguments: Mapping[str, Any]) -> list[str]:
    # Checked like any other command's, by the types of the one that query-qmp-schema tells of.
    from pydantic import ValidationError

    from asyncemu.monitor.commands.capabilities import QmpCapabilities
    from asyncemu.monitor.validation import arguments_error

    try:
        return list(QmpCapabilities.model_validate(arguments).enable or [])
    except ValidationError as error:
        raise arguments_error(error) from None
