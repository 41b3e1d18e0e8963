# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockGraph: the block nodes of a machine, by node-name: added, removed, closed. QEMU: blockdev-add, blockdev-del.

graph_change.py replaces nodes and inserts filters under I/O, reopen.py changes options.

Whoever changes the graph holds its lock as the writer, whoever walks along it while awaiting, as a reader; a request
needs neither: it holds on to one edge, and edges change in drained sections only.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from asyncemu.block.child import BlockChild
from asyncemu.block.driver import BlockDriver, BlockDriverOptions, ChildSlot
from asyncemu.block.flags import ROLE_COW
from asyncemu.block.node import BlockNode
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.permissions import refresh_permissions
from asyncemu.block.tables import inherited
from asyncemu.coroutines import CoRwlock
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext, home
from asyncemu.plugin_options import configure

if TYPE_CHECKING:
    from asyncemu.block.throttle.registry import ThrottleGroups


class BlockGraph:
    """All nodes of a machine. Home: the main context."""

    def __init__(self, context: AioContext, directory: Path | None = None) -> None:
        self.context = context
        #: What relative file names in nested tables are relative to.
        self.directory = directory
        self.nodes: dict[str, BlockNode] = {}
        self.lock = CoRwlock()
        self._anonymous = 0

    @cached_property
    def throttle_groups(self) -> ThrottleGroups:
        """The throttle groups that nodes of this graph may join."""
        from asyncemu.block.throttle.registry import ThrottleGroups

        return ThrottleGroups()

    # ---- adding

    @home
    async def add(
        self,
        driver_class: type[BlockDriver[Any]],
        options: BlockDriverOptions,
        node_name: str = "",
        where: str = "blockdev",
        mode: OpenMode = OpenMode(),  # noqa: B008  # frozen
    ) -> BlockNode:
        """Open a driver over its children and register the node, which stays until ``remove``.

        A child option is a node-name, or options of a node with their driver, which goes with its last parent.
        Raises ConfigError, with ``where`` as the TOML path.
        """
        async with self.lock.writing():
            node = await self._add(driver_class, options, node_name, where, mode)
            node.kept = True
            return node

    @home
    async def add_table(
        self,
        table: Mapping[str, object],
        where: str,
        mode: OpenMode = OpenMode(),  # noqa: B008  # frozen
    ) -> BlockNode:
        """As ``add``, from a table: ``driver``, ``node-name`` and the driver's options. No ``driver``: a look tells."""
        async with self.lock.writing():
            node = await self.add_table_locked(table, where, mode)
            node.kept = True
            return node

    async def add_table_locked(
        self,
        table: Mapping[str, object],
        where: str,
        mode: OpenMode = OpenMode(),  # noqa: B008  # frozen
    ) -> BlockNode:
        """As ``add_table``, by who holds the lock. The node goes with its last parent, unless it is made ``kept``."""
        if "driver" not in table and "plugin" not in table:
            from asyncemu.block.probing import with_driver

            return await with_driver(self, table, where, mode)
        found = configure("blockdev", table, where, self.directory)
        driver_class = cast("type[BlockDriver[Any]]", found.plugin)
        options = cast(BlockDriverOptions, found.options)
        return await self._add(driver_class, options, found.identity, where, mode)

    async def _add(
        self,
        driver_class: type[BlockDriver[Any]],
        options: BlockDriverOptions,
        node_name: str,
        where: str,
        mode: OpenMode,
    ) -> BlockNode:
        if not node_name:
            # As QEMU names nodes that the user did not: a character that a user can't begin with.
            self._anonymous += 1
            node_name = f"#block{self._anonymous:03d}"
        if node_name in self.nodes:
            raise ConfigError(f"{where}.node-name", f"{node_name!r} is taken already")
        below: dict[ChildSlot, BlockNode] = {}
        try:
            for slot in driver_class.children:
                value = getattr(options, slot.name)
                if value is not None and value != "":
                    below[slot] = await self._child_node(
                        driver_class, slot, value, options, f"{where}.{slot.name}", mode
                    )
            context = self._common_home(below, where)
            opening = _Opening(self, where, mode)
            node = await context.call(lambda: opening.open(driver_class(options, node_name, context), below))
        except BaseException:
            for each in below.values():
                await self.drop_locked(each)
            raise
        self.nodes[node_name] = node
        for edge in node.children:
            for section in list(edge.node.sections):
                await section.adopt(node)
        return node

    async def _child_node(
        self,
        parent: type[BlockDriver[Any]],
        slot: ChildSlot,
        value: str | Mapping[str, object],
        options: BlockDriverOptions,
        where: str,
        mode: OpenMode,
    ) -> BlockNode:
        if not isinstance(value, str):
            child = await self.add_table_locked(inherited(parent, slot, value, options), where, mode)
            child.explicit = frozenset(value)
            return child
        if value not in self.nodes:
            raise ConfigError(where, f"no block node is named {value!r}", "name one that is defined above")
        return self.nodes[value]

    def _common_home(self, below: Mapping[ChildSlot, BlockNode], where: str) -> AioContext:
        """Where a node over ``below`` lives; ConfigError when they live apart."""
        homes = {node.context for node in below.values()}
        if len(homes) > 1:
            raise ConfigError(where, "its children are in several iothreads", "move them into one")
        return next(iter(homes), self.context)

    # ---- removing

    @home
    async def remove(self, node: BlockNode) -> None:
        """Close a node that nobody uses, and forget it. BlockError (EBUSY): somebody does."""
        if node.parents:
            raise BlockError(node.name, errno.EBUSY, f"is in use: {node.parents[0].parent.description}")
        async with self.lock.writing():
            await self.remove_locked(node)

    async def remove_locked(self, node: BlockNode) -> None:
        """As ``remove``, by who holds the lock and knows that nobody uses it."""
        del self.nodes[node.name]
        below = [edge.node for edge in node.children]
        try:
            await node.context.call(node.close)
        finally:
            for child in below:
                await self.drop_locked(child)

    async def drop_locked(self, node: BlockNode) -> None:
        """A parent of ``node`` is gone: it goes, too, when it was the last and nobody has asked for it by itself."""
        if not node.parents and not node.kept and node.name in self.nodes:
            await self.remove_locked(node)

    @home
    async def close(self) -> None:
        """Close all nodes, users before what they use. Errors of all are raised as one group."""
        errors: list[Exception] = []
        async with self.lock.writing():
            while self.nodes:
                node = next(each for each in reversed(self.nodes.values()) if not each.has_node_parents())
                try:
                    await self.remove_locked(node)
                except Exception as error:
                    errors.append(error)
        if errors:
            raise ExceptionGroup("closing the block graph", errors)


class _Opening:
    """One node that is being opened: what the driver sees as its environment."""

    def __init__(self, graph: BlockGraph, where: str, mode: OpenMode) -> None:
        self._graph = graph
        self._where = where
        self._mode = mode
        self._node: BlockNode

    async def open(self, driver: BlockDriver[Any], below: Mapping[ChildSlot, BlockNode]) -> BlockNode:
        """The node of ``driver``, opened, with its edges. In its home."""
        driver.environment = self
        driver.mode = self._mode
        self._node = node = BlockNode(driver)
        for slot in driver.children:
            setattr(driver, slot.name, None)
        try:
            for slot, child in below.items():
                self._attach(slot.name, driver.child_role(slot), child)
            refresh_permissions([node])
            await node.open()
            await self._open_backing()
            refresh_permissions([node])
        except ConfigError as error:
            await node.abandon()
            raise ConfigError(f"{self._where}.{error.where}", error.problem, error.remedy) from error
        except (OSError, BlockError) as error:
            await node.abandon()
            raise ConfigError(self._where, str(error)) from error
        except BaseException:
            await node.abandon()
            raise
        return node

    def _attach(self, name: str, role: int, child: BlockNode) -> BlockChild:
        edge = BlockChild(self._node, name, role, child)
        self._node.attach(edge)
        return edge

    async def _open_backing(self) -> None:
        driver = self._node.driver
        # An empty ``backing`` is QEMU's null: no backing file, whatever the image says.
        if not driver.backing_file or self._node.backing is not None or getattr(driver.options, "backing", None) == "":
            return
        if self._mode.open_backing:
            from asyncemu.block.probing import backing_table

            slot = next(each for each in driver.children if each.role & ROLE_COW)
            await self.open_child(slot, backing_table(driver))

    async def open_child(self, slot: ChildSlot, table: Mapping[str, object]) -> BlockChild:
        """See Environment."""
        driver = self._node.driver
        inherits = inherited(type(driver), slot, table, driver.options)
        graph = self._graph
        child = await graph.context.call(
            lambda: graph.add_table_locked(inherits, f"{self._where}.{slot.name}", self._mode)
        )
        child.explicit = frozenset(table)
        edge = self._attach(slot.name, driver.child_role(slot), child)
        refresh_permissions([self._node])
        return edge

    def refresh_child(self, child: BlockChild, role: int) -> None:
        """See Environment."""
        child.role = role
        refresh_permissions([self._node])

    @property
    def throttle_groups(self) -> ThrottleGroups:
        """See Environment."""
        return self._graph.throttle_groups
