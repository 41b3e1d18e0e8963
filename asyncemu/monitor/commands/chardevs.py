# SPDX-License-Identifier: GPL-2.0-or-later
"""Chardevs at run time: what there is, more and fewer of them, and the contents of ring buffers."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

from asyncemu.chardev.pty import Pty
from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.commands.chardev_types import Backend
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.identifiers import check_identifier
from asyncemu.monitor.plugin_arguments import configured
from asyncemu.plugin_options import Configured
from asyncemu.plugins import names
from asyncemu.wire_model import WireModel

DataFormat = Literal["utf8", "base64"]


class ChardevInfo(WireModel):
    """QEMU: ChardevInfo."""

    label: str
    #: Where it leads, as QEMU words it: "pty:/dev/pts/1", "disconnected:tcp:127.0.0.1:4444,server=on".
    filename: str
    frontend_open: bool


class ChardevBackendInfo(WireModel):
    """QEMU: ChardevBackendInfo."""

    name: str


class ChardevReturn(WireModel):
    """QEMU: ChardevReturn."""

    #: The terminal's name.
    pty: str | None = None


class ChardevArguments(WireModel):
    """Of chardev-add and chardev-change."""

    id: str
    backend: Backend


class ChardevId(WireModel):
    """Of chardev-remove and chardev-send-break."""

    id: str


class RingbufWriteArguments(WireModel):
    """Of ringbuf-write."""

    device: str
    data: str
    format: DataFormat = "utf8"


class RingbufReadArguments(WireModel):
    """Of ringbuf-read."""

    device: str
    #: Bytes at most.
    size: int
    format: DataFormat = "utf8"


@command("query-chardev")
async def query_chardev(call: Call) -> list[ChardevInfo]:
    """All of them."""
    return [
        ChardevInfo(label=id, filename=chardev.filename, frontend_open=chardev.frontend_open)
        for id, chardev in call.control.machine.chardevs.items()
    ]


@command("query-chardev-backends")
async def query_chardev_backends(call: Call) -> list[ChardevBackendInfo]:
    """The kinds that there are."""
    return [ChardevBackendInfo(name=name) for name in names("chardev")]


@command("chardev-add")
async def chardev_add(call: Call, arguments: ChardevArguments) -> ChardevReturn:
    """One more, that nobody uses yet."""
    chardevs = call.control.machine.chardevs
    check_identifier(arguments.id)
    try:
        chardev = await chardevs.add(_configured(call, arguments))
    except (ConfigError, OSError) as error:
        raise _failed(arguments.id, error) from error
    return _result(chardev)


@command("chardev-change")
async def chardev_change(call: Call, arguments: ChardevArguments) -> ChardevReturn:
    """Another back end in the place of one, for the same front end."""
    try:
        chardev = await call.control.machine.chardevs.change(arguments.id, _configured(call, arguments))
    except (ConfigError, OSError) as error:
        raise _failed(arguments.id, error) from error
    return _result(chardev)


@command("chardev-remove")
async def chardev_remove(call: Call, arguments: ChardevId) -> None:
    """One less, that nobody uses."""
    await call.control.machine.chardevs.remove(arguments.id)


@command("chardev-send-break")
async def chardev_send_break(call: Call, arguments: ChardevId) -> None:
    """The front end is told of a break."""
    await call.control.machine.chardevs.send_break(arguments.id)


@command("ringbuf-write")
async def ringbuf_write(call: Call, arguments: RingbufWriteArguments) -> None:
    """Write into a ring buffer, as its front end does."""
    if arguments.format == "base64":
        try:
            data = base64.b64decode(arguments.data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise QmpError("Base64 data contains invalid characters") from error
    else:
        data = arguments.data.encode()
    await call.control.machine.chardevs.ringbuf_write(arguments.device, data)


@command("ringbuf-read")
async def ringbuf_read(call: Call, arguments: RingbufReadArguments) -> str:
    """Take the oldest bytes out of a ring buffer. In utf8, what is none is replaced."""
    if arguments.size <= 0:
        raise QmpError("size must be greater than zero")
    data = await call.control.machine.chardevs.ringbuf_read(arguments.device, arguments.size)
    return base64.b64encode(data).decode() if arguments.format == "base64" else data.decode(errors="replace")


def _configured(call: Call, arguments: ChardevArguments) -> Configured:
    backend = arguments.backend
    directory = call.control.machine.block.directory
    return configured("chardev", backend.type, arguments.id, backend.data.options(), directory)


def _failed(id: str, error: AsyncemuError | OSError) -> QmpError:
    problem = error.problem if isinstance(error, ConfigError) else str(error)
    return QmpError(f"Failed to add chardev '{id}': {problem}")


def _result(chardev: Any) -> ChardevReturn:
    return ChardevReturn(pty=chardev.path if isinstance(chardev, Pty) else None)
