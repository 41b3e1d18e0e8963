# SPDX-License-Identifier: GPL-2.0-or-later
"""Yank: end connections that hang, out of band: also while another command waits for one of them.

Whoever uses such a connection sees it break: a chardev is disconnected (and connects again, if it is to), requests of
an NBD node fail. Everything here is for any thread.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import Field

from asyncemu.machine import Machine
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import DeviceNotFound
from asyncemu.wire_model import WireModel


@runtime_checkable
class Yankable(Protocol):
    """A block driver with a connection."""

    def yank(self) -> None:
        """End it soon. Any thread."""


class YankInstanceBlockNode(WireModel):
    """QEMU: YankInstanceBlockNode."""

    type: Literal["block-node"]
    node_name: str


class YankInstanceChardev(WireModel):
    """QEMU: YankInstanceChardev."""

    type: Literal["chardev"]
    id: str


class YankInstanceMigration(WireModel):
    """A migration's connection; there is none yet."""

    type: Literal["migration"]


YankInstance = Annotated[
    YankInstanceBlockNode | YankInstanceChardev | YankInstanceMigration, Field(discriminator="type")
]


class YankArguments(WireModel):
    """Of yank."""

    instances: list[YankInstance]


@command("query-yank", allow_oob=True)
async def query_yank(call: Call) -> list[YankInstance]:
    """What can be yanked."""
    machine = call.control.machine
    found: list[Any] = [YankInstanceChardev(type="chardev", id=id) for id in machine.chardevs.yankable()]
    found += [YankInstanceBlockNode(type="block-node", node_name=name) for name in _block_nodes(machine)]
    return found


@command("yank", allow_oob=True)
async def yank(call: Call, arguments: YankArguments) -> None:
    """End these connections, all of them or, when one is not there, none."""
    machine = call.control.machine
    chardevs, nodes = machine.chardevs.yankable(), _block_nodes(machine)
    for instance in arguments.instances:
        match instance:
            case YankInstanceChardev(id=id) if id in chardevs:
                pass
            case YankInstanceBlockNode(node_name=name) if name in nodes:
                pass
            case _:
                raise DeviceNotFound("Instance not found")
    for instance in arguments.instances:
        match instance:
            case YankInstanceChardev(id=id):
                machine.chardevs.yank(id)
            case YankInstanceBlockNode(node_name=name):
                nodes[name].yank()


def _block_nodes(machine: Machine) -> dict[str, Yankable]:
    # One step under the GIL: nodes come and go in the main thread.
    nodes = list(machine.block.nodes.items())
    return {name: node.driver for name, node in nodes if isinstance(node.driver, Yankable)}
