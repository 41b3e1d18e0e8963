# SPDX-License-Identifier: GPL-2.0-or-later
"""Block nodes: added, removed, opened again with other options, resized."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from asyncemu.block.control import changes
from asyncemu.block.control.lookup import find_node
from asyncemu.block.drain import backends_of
from asyncemu.block.move import move_nodes
from asyncemu.errors import BlockError
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.plugin_arguments import PluginArguments, check_plain_types, plugin_variants
from asyncemu.plain_options import AnyOptions
from asyncemu.plugins import find, names
from asyncemu.wire_model import WireModel

#: Tables within each other: the deepest chain that anybody builds has a few, and each is opened by the one above.
_MAX_DEPTH: Final = 50


class BlockdevOptions(PluginArguments):
    """A node: what all have, and its driver's own options."""

    tag: ClassVar[str] = "driver"

    driver: str
    node_name: str | None = None

    @classmethod
    def variants(cls) -> Mapping[str, type[AnyOptions]]:
        return plugin_variants("blockdev")

    def table(self) -> dict[str, Any]:
        """As it came: the block layer makes nodes of nested ones when it opens them."""
        named = {"node-name": self.node_name} if self.node_name is not None else {}
        return {"driver": self.driver, **named, **self.own()}


class BlockdevDelArguments(WireModel):
    """Of blockdev-del."""

    node_name: str


class BlockdevReopenArguments(WireModel):
    """Of blockdev-reopen."""

    options: list[BlockdevOptions]


class BlockResizeArguments(WireModel):
    """Of block_resize."""

    device: str | None = None
    node_name: str | None = None
    #: Bytes.
    size: int


class SetIothreadArguments(WireModel):
    """Of x-blockdev-set-iothread."""

    node_name: str
    #: None: the main loop.
    iothread: str | None
    #: Also of a node that a device or an export uses, if that can follow.
    force: bool | None = None


@command("blockdev-add")
async def blockdev_add(call: Call, arguments: BlockdevOptions) -> None:
    """Open a node and those inside, which stay until ``blockdev-del``."""
    table = arguments.table()
    _check_types(table)
    await changes.blockdev_add(call.control.machine.block, table)


@command("blockdev-del")
async def blockdev_del(call: Call, arguments: BlockdevDelArguments) -> None:
    """Close a node that ``blockdev-add`` has opened and nobody uses."""
    await changes.blockdev_del(call.control.machine.block, arguments.node_name)


@command("blockdev-reopen")
async def blockdev_reopen(call: Call, arguments: BlockdevReopenArguments) -> None:
    """Other options for some nodes, all or none; under I/O."""
    tables = [each.table() for each in arguments.options]
    for index, table in enumerate(tables):
        _check_types(table, f"options[{index}].")
    await changes.blockdev_reopen(call.control.machine.block, tables)


@command("block_resize")
async def block_resize(call: Call, arguments: BlockResizeArguments) -> None:
    """Another size for a disk, under I/O; its guest is told."""
    await changes.block_resize(call.control.machine.block, arguments.size, arguments.device, arguments.node_name)


@command("x-blockdev-set-iothread")
async def set_iothread(call: Call, arguments: SetIothreadArguments) -> None:
    """Bring a node, and all that are connected with it, to an iothread."""
    machine, name = call.control.machine, arguments.iothread
    node = find_node(machine.block, arguments.node_name)
    if not arguments.force and backends_of([node]):
        problem = f"Node {node.name} is associated with a BlockBackend and could be in use"
        raise QmpError(f"{problem} (use force=true to override this check)")
    if name is not None and name not in machine.iothreads:
        raise QmpError(f"Cannot find iothread {name}")
    context = machine.iothreads[name].aio_context if name is not None else machine.context
    try:
        await move_nodes(node, context)
    except BlockError as error:
        raise QmpError("Cannot change iothread of active block backend") from error


def _check_types(table: Mapping[str, Any], prefix: str = "", depth: int = 0) -> None:
    """Of the node, and of those inside: numbers are numbers, and there is an end to it. QmpError."""
    if depth > _MAX_DEPTH:
        raise QmpError("Block nodes are nested too deeply")
    driver = table.get("driver")
    if driver in names("blockdev"):
        check_plain_types(find("blockdev", driver, "blockdev").options_type, table, prefix)
    for key, value in table.items():
        if isinstance(value, dict):
            _check_types(value, f"{prefix}{key}.", depth + 1)
