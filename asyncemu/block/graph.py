# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockGraph: the block nodes of a machine, by node-name; opens drivers with their children and closes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.node import BlockNode
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext, home
from asyncemu.plugin_options import configure


class BlockGraph:
    """All nodes of a machine. Home: the main context."""

    def __init__(self, context: AioContext, directory: Path | None = None) -> None:
        self.context = context
        #: What relative file names in nested tables are relative to.
        self.directory = directory
        self.nodes: dict[str, BlockNode] = {}
        self._anonymous = 0

    @home
    async def add(
        self,
        driver_class: type[BlockDriver[Any]],
        options: BlockDriverOptions,
        node_name: str = "",
        where: str = "blockdev",
    ) -> BlockNode:
        """Open a driver over its children and register the node. QEMU: blockdev-add.

        A child option is a node-name, or options of an anonymous node with their driver class (see ``child_node``).
        Raises ConfigError, with ``where`` as the TOML path.
        """
        if not node_name:
            # As QEMU names nodes that the user did not: a character that a user can't begin with.
            self._anonymous += 1
            node_name = f"#block{self._anonymous:03d}"
        if node_name in self.nodes:
            raise ConfigError(f"{where}.node-name", f"{node_name!r} is taken already")
        made: list[BlockNode] = []
        try:
            children: dict[str, BlockNode] = {}
            for child in driver_class.children:
                value = getattr(options, child)
                children[child] = await self._child(value, f"{where}.{child}", read_only=options.read_only)
                if not isinstance(value, str):
                    made.append(children[child])
            context = self._common_home(children, where)
            node = await context.call(lambda: _open(driver_class(options, node_name, context), children, where))
        except BaseException:
            for child_node in reversed(made):
                await self.remove(child_node)
            raise
        self.nodes[node_name] = node
        return node

    @home
    async def remove(self, node: BlockNode) -> None:
        """Close a node that nobody uses, and forget it. QEMU: blockdev-del."""
        del self.nodes[node.name]
        try:
            await node.context.call(node.close)
        finally:
            for child in node.children:
                child.parents.remove(node)

    @home
    async def add_table(self, table: Mapping[str, Any], where: str) -> BlockNode:
        """As ``add``, from a table of vm.toml: ``driver``, ``node-name`` and the driver's options."""
        configured = configure("blockdev", table, where, self.directory)
        return await self.add(
            cast("type[BlockDriver[Any]]", configured.plugin),
            cast(BlockDriverOptions, configured.options),
            configured.identity,
            where,
        )

    async def _child(self, value: str | Mapping[str, Any], where: str, *, read_only: bool) -> BlockNode:
        if not isinstance(value, str):
            # As in QEMU, what is made for a read-only parent is read-only unless it says otherwise itself.
            return await self.add_table({"read-only": True, **value} if read_only else value, where)
        if value not in self.nodes:
            raise ConfigError(where, f"no block node is named {value!r}", "name one that is defined above")
        return self.nodes[value]

    def _common_home(self, children: Mapping[str, BlockNode], where: str) -> AioContext:
        """Where a node over ``children`` lives; ConfigError when they live apart."""
        homes = {node.context: child for child, node in children.items()}
        if len(homes) > 1:
            raise ConfigError(where, "its children are in several iothreads", "move them into one")
        return next(iter(homes), self.context)

    @home
    async def close(self) -> None:
        """Close all nodes, users before what they use. Errors of all are raised as one group."""
        errors: list[Exception] = []
        while self.nodes:
            _, node = next(reversed(self.nodes.items()))
            try:
                await self.remove(node)
            except Exception as error:
                errors.append(error)
        if errors:
            raise ExceptionGroup("closing the block graph", errors)


async def _open(driver: BlockDriver[Any], children: Mapping[str, BlockNode], where: str) -> BlockNode:
    """The node of ``driver``, opened. In its home."""
    for name, child in children.items():
        setattr(driver, name, child)
    try:
        node = BlockNode(driver, await driver.open())
    except ConfigError as error:
        raise ConfigError(f"{where}.{error.where}", error.problem, error.remedy) from error
    except (OSError, BlockError) as error:
        raise ConfigError(where, str(error)) from error
    node.children = list(children.values())
    for child in node.children:
        child.parents.append(node)
    return node
