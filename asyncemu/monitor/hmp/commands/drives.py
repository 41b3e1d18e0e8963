# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives added and removed by hand. A drive is a block node whose name is the drive's id; ``device_add`` makes a disk
of it.

QEMU: -drive, and hmp_drive_add().
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from asyncemu.block.control import changes
from asyncemu.block.image_options import image_table, options_table
from asyncemu.block.naming.qemu_opts import opts_of
from asyncemu.block.naming.tables import nested
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.hmp.arguments import BlockName, Flag, Text
from asyncemu.monitor.hmp.scanner import LineFault
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command

#: What -drive calls otherwise than -blockdev does.
_BLOCKDEV_NAMES: Final = {"readonly": "read-only", "format": "driver", "id": "node-name"}


@hmp_command(
    "drive_add",
    "[-n] [[<domain>:]<bus>:]<slot]\n"
    "[file=file][,if=none][,id=id]\n"
    "[,format=f][,readonly=on|off][,driver's option=value]",
    "add a drive for device_add; -n: a node, as blockdev-add does",
)
async def drive_add(session: Session, node: Annotated[bool, Flag("n")], pci_addr: Text, opts: Text) -> None:
    """QMP: blockdev-add. ``pci_addr`` is for QEMU's scripts: there is no place that a drive would be put into."""
    graph = session.machine.block
    if node:
        await changes.drive_add(graph, options_table(opts))
        return
    await changes.drive_add(graph, _drive_table(opts))
    session.print("OK\n")


def _drive_table(text: str) -> dict[str, Any]:
    options = {_BLOCKDEV_NAMES.get(opt.key, opt.key): opt.value for opt in opts_of(text)}
    interface = options.pop("if", "none")
    if interface != "none":
        raise QmpError(f"Can't hot-add drive to type {interface}; use if=none, and device_add")
    if "node-name" not in options:
        raise QmpError("Parameter 'id' is missing")
    file = options.pop("file", None)
    own = nested(options.items())
    return {**image_table(file, options.get("driver")), **own} if file is not None else own


@hmp_command("drive_del", "device", "remove host block device")
async def drive_del(session: Session, id: BlockName) -> None:
    """QMP: blockdev-del."""
    if id not in session.machine.block.nodes:
        raise LineFault(f"Device '{id}' not found")
    await session.say_refusal(session.qmp("blockdev-del", node_name=id))
