# SPDX-License-Identifier: GPL-2.0-or-later
"""Character back ends."""

from __future__ import annotations

from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.hmp.arguments import ChardevId, ChardevOptions, Number32, RingbufId, Text
from asyncemu.monitor.hmp.option_text import configured_by_text, split
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command


@hmp_command("chardev-add", "args", "add chardev")
async def chardev_add(session: Session, args: ChardevOptions) -> None:
    """With the options of -chardev."""
    options = split(args, "backend")
    if "id" not in options:
        raise QmpError("chardev: no id specified")
    machine = session.machine
    await machine.chardevs.add(configured_by_text("chardev", "backend", options, machine.block.directory))


@hmp_command("chardev-change", "id args", "change chardev")
async def chardev_change(session: Session, id: ChardevId, args: Text) -> None:
    """Another back end in the place of one."""
    options = split(args, "backend")
    if "id" in options:
        raise QmpError("Unexpected 'id' parameter")
    machine = session.machine
    if id not in machine.chardevs:
        raise QmpError(f"Chardev '{id}' does not exist")
    configured = configured_by_text("chardev", "backend", {**options, "id": [id]}, machine.block.directory)
    await machine.chardevs.change(id, configured)


@hmp_command("chardev-remove", "id", "remove chardev")
async def chardev_remove(session: Session, id: ChardevId) -> None:
    """QMP: chardev-remove."""
    await session.qmp("chardev-remove", id=id)


@hmp_command("chardev-send-break", "id", "send a break on chardev")
async def chardev_send_break(session: Session, id: ChardevId) -> None:
    """QMP: chardev-send-break."""
    await session.qmp("chardev-send-break", id=id)


@hmp_command("ringbuf_write", "device data", "Write to a ring buffer character device")
async def ringbuf_write(session: Session, device: RingbufId, data: Text) -> None:
    """QMP: ringbuf-write."""
    await session.qmp("ringbuf-write", device=device, data=data)


@hmp_command("ringbuf_read", "device size", "Read from a ring buffer character device")
async def ringbuf_read(session: Session, device: RingbufId, size: Number32) -> None:
    """QMP: ringbuf-read; what a terminal would obey is shown by its number."""
    text = await session.qmp("ringbuf-read", device=device, size=size)
    session.print("".join(map(_shown, text)) + "\n")


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if (character < " " and character != "\n") or character == "\x7f":
        return f"\\u{ord(character):04X}"
    return character


@hmp_command("info chardev", "", "show the character devices")
async def info_chardev(session: Session) -> None:
    """QMP: query-chardev."""
    for each in await session.qmp("query-chardev"):
        session.print(f"{each['label']}: filename={each['filename']}\n")
