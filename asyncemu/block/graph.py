# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockGraph: the block nodes of a machine, by node-name: added, removed, closed. QEMU: blockdev-add, blockdev-del.

graph_change.py replaces nodes and inserts filters under I/O, reopen.py changes options.

Whoever changes the graph holds its lock as the writer, whoever walks along it while awaiting, as a reader; a request
needs neither: it holds on to one edge, and edges change in drained sections only.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from asyncemu.block.drain import DrainedSection, backends_of, drained, quiesce, resume
from asyncemu.block.driver import BlockDriver, BlockDriverOptions, ChildSlot
from asyncemu.block.flags import ROLE_COW
from asyncemu.block.homes import at_home, call_to_end, to_end
from asyncemu.block.move import share_home
from asyncemu.block.node import BlockNode
from asyncemu.block.observer import SILENT
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.opening import Opening
from asyncemu.block.tables import check_options, inherited, names_storage, unknown_node
from asyncemu.coroutines import CoRwlock
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext, home
from asyncemu.plugin_options import configure

if TYPE_CHECKING:
    from pathlib import Path

    from asyncemu.block.backend import BlockBackend
    from asyncemu.block.nbd.tls import TlsCredentials
    from asyncemu.block.throttle.registry import ThrottleGroups


class BlockGraph:
    """All nodes of a machine. Home: the main context."""

    def __init__(self, context: AioContext, directory: Path | None = None) -> None:
        self.context = context
        #: What relative file names in nested tables are relative to.
        self.directory = directory
        self.nodes: dict[str, BlockNode] = {}
        #: Passwords and the like that options name. QEMU: objects of type ``secret``.
        self.secrets: dict[str, bytes] = {}
        #: By id.
        self.tls_credentials: dict[str, TlsCredentials] = {}
        self.lock = CoRwlock()
        #: Of the nodes that come from now on.
        self.observer = SILENT
        #: Nobody else needs this thread: nodes that come from now on may copy into the host's page cache in place, and
        #: wait for the disk when the host has too much to write.
        self.writes_in_place = False
        #: Drained sections of all nodes: those that come are in them from the start.
        self.sections: list[DrainedSection] = []
        #: Names of nodes that are being opened.
        self._coming: set[str] = set()
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

    @home
    async def add_table_locked(
        self,
        table: Mapping[str, object],
        where: str,
        mode: OpenMode = OpenMode(),  # noqa: B008  # frozen
        *,
        alone: bool = True,
    ) -> BlockNode:
        """As ``add_table``, by who holds the lock. The node goes with its last parent, unless it is made ``kept``.

        Not ``alone``: it is about to be put in the place of another, and gets its permissions there.
        """
        if "driver" not in table and "plugin" not in table:
            from asyncemu.block.probing import with_driver

            return await with_driver(self, table, where, mode)
        found = configure("blockdev", table, where, None if mode.named_by_image else self.directory)
        driver_class = cast("type[BlockDriver[Any]]", found.plugin)
        options = cast(BlockDriverOptions, found.options)
        return await self._add(driver_class, options, found.identity, where, mode, alone=alone)

    async def _add(
        self,
        driver_class: type[BlockDriver[Any]],
        options: BlockDriverOptions,
        node_name: str,
        where: str,
        mode: OpenMode,
        *,
        alone: bool = True,
    ) -> BlockNode:
        check_options(options, where)
        if not node_name:
            # As QEMU names nodes that the user did not: a character that a user can't begin with.
            self._anonymous += 1
            node_name = f"#block{self._anonymous:03d}"
        if node_name in self.nodes or node_name in self._coming:
            raise ConfigError(f"{where}.node-name", f"Duplicate nodes with node-name='{node_name}'")
        below: dict[ChildSlot, BlockNode] = {}
        opening = Opening(self, where, mode, alone=alone)
        self._coming.add(node_name)
        try:
            for slot in driver_class.children:
                value = getattr(options, slot.name)
                if value is not None and value != "" and not self._is_later(slot, value, mode):
                    below[slot] = await self._child_node(
                        driver_class, slot, value, options, f"{where}.{slot.name}", mode
                    )
            context = await self._common_home(list(below.values()), where)
            node = await call_to_end(context, lambda: opening.open(driver_class(options, node_name, context), below))
        except BaseException:
            await to_end(self._take_back(opening, [*below.values(), *opening.named_below]))
            raise
        finally:
            self._coming.remove(node_name)
        self.nodes[node_name] = node
        return node

    async def _take_back(self, opening: Opening, below: list[BlockNode]) -> None:
        """A node could not be opened, or whoever wanted it has gone meanwhile."""
        if opening.node is not None:
            await at_home(opening.node, opening.abandon)
        for each in below:
            await self.drop_locked(each)

    def _is_later(self, slot: ChildSlot, value: str | Mapping[str, object], mode: OpenMode) -> bool:
        """Is it a backing file that is opened when the image has said where it is, or not at all?"""
        if not slot.role & ROLE_COW:
            return False
        return not mode.open_backing or not (isinstance(value, str) or names_storage(value))

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
            raise unknown_node(where, value)
        return self.nodes[value]

    async def _common_home(self, nodes: list[BlockNode], where: str) -> AioContext:
        """Where a node over ``nodes`` lives, who are brought there; ConfigError when they can't be."""
        for node in nodes[1:]:
            try:
                await share_home(nodes[0], node)
            except BlockError as error:
                raise ConfigError(where, "its children are in several iothreads", "move them into one") from error
        if len({node.context for node in nodes}) > 1:
            raise ConfigError(where, "its children are in several iothreads", "move them into one")
        return nodes[0].context if nodes else self.context

    @home
    def check(self, *nodes: BlockNode) -> None:
        """With the lock held: they are there still. BlockError (ENOENT)."""
        for node in nodes:
            if self.nodes.get(node.name) is not node:
                raise BlockError(node.name, errno.ENOENT, "is removed already")

    # ---- drained sections

    @asynccontextmanager
    @home
    async def drained(self) -> AsyncIterator[None]:
        """Inside, nothing is in flight in any node, nor in those that come meanwhile. QEMU: bdrv_drain_all_begin."""
        section = DrainedSection(self.nodes.values())
        self.sections.append(section)
        try:
            await section.begin()
            yield
        finally:
            self.sections.remove(section)
            await to_end(section.end())

    @asynccontextmanager
    @home
    async def devices_quiet(self) -> AsyncIterator[None]:
        """Inside, devices send no requests, and none is in flight when it begins; exports and jobs go on.

        Of devices that are there now: those that come meanwhile have no vCPU that would ask them for anything.
        QEMU: vm_stop, where devices hear of the run state.
        """
        quiet: list[BlockBackend] = []
        try:
            for backend in backends_of(list(self.nodes.values())):
                if backend.is_device and backend.user is not None:
                    quiet.append(backend)
                    await to_end(quiesce(backend.user))
            async with self.drained():
                pass
            yield
        finally:
            for backend in reversed(quiet):
                # Without a node the device has gone.
                if backend.user is not None and backend.root is not None:
                    await to_end(resume(backend.user))

    # ---- removing

    @home
    async def remove(self, node: BlockNode) -> None:
        """Close a node that nobody uses, and forget it. BlockError (EBUSY): somebody does.

        Errors of its last flush are raised when it has gone. Cancelled while it is drained, it stays.
        """
        async with self.lock.writing():
            self.check(node)
            try:
                await at_home(node, lambda: _claim(node))
                await self.remove_locked(node)
            finally:
                # Also when the cancellation came just behind the claim.
                node.closing = node.closed

    @home
    async def remove_locked(self, node: BlockNode) -> None:
        """As ``remove``, by who holds the lock and knows that nobody uses it."""
        try:
            async with drained(node):
                await to_end(self._remove(node))
        finally:
            node.closing = node.closed

    async def _remove(self, node: BlockNode) -> None:
        below = [edge.node for edge in node.children]
        try:
            await at_home(node, node.close)
        finally:
            del self.nodes[node.name]
            for child in below:
                await self.drop_locked(child)

    @home
    async def drop_locked(self, node: BlockNode) -> None:
        """A parent of ``node`` is gone: it goes, too, when it was the last and nobody has asked for it by itself."""
        if not node.parents and not node.kept and self.nodes.get(node.name) is node:
            await self.remove_locked(node)

    @home
    async def close(self) -> None:
        """Close all nodes, users before what they use. Errors of all are raised as one group."""
        errors: list[Exception] = []
        # Tried once: what can't even be drained, because a user fails, stays.
        tried: set[BlockNode] = set()
        async with self.lock.writing():
            while node := self._uppermost(tried):
                tried.add(node)
                try:
                    await self.remove_locked(node)
                except Exception as error:
                    errors.append(error)
        if errors:
            raise ExceptionGroup("closing the block graph", errors)

    def _uppermost(self, tried: Collection[BlockNode]) -> BlockNode | None:
        """The last that has come of the nodes with no node over them."""
        nodes = reversed(self.nodes.values())
        return next((node for node in nodes if node not in tried and not node.has_node_parents()), None)


async def _claim(node: BlockNode) -> None:
    """In its home: nobody uses it, and nobody shall."""
    if node.parents:
        raise BlockError(node.name, errno.EBUSY, f"is in use: {node.parents[0].parent.description}")
    node.closing = True
