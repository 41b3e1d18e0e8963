# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening: one node that is being opened, with what the image names: what a driver sees as its environment.

A backing file is, by QEMU's rules (bdrv_open_backing_file): none when the option ``backing`` is null or empty; the node
that it names; what its table describes; and otherwise what the image names, relative to the image, with those options
that an incomplete table gives.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from asyncemu import author_errors
from asyncemu.block.child import BlockChild
from asyncemu.block.drain import follow
from asyncemu.block.filenames import image_identity
from asyncemu.block.flags import ROLE_COW
from asyncemu.block.homes import call_to_end
from asyncemu.block.move import share_home
from asyncemu.block.node import BlockNode
from asyncemu.block.permissions import refresh_permissions
from asyncemu.block.tables import inherited
from asyncemu.errors import BlockError, ConfigError

if TYPE_CHECKING:
    from asyncemu.block.driver import BlockDriver, ChildSlot
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.nbd.tls import TlsCredentials
    from asyncemu.block.open_mode import OpenMode
    from asyncemu.block.throttle.registry import ThrottleGroups

#: Images above each other, at most: as libvirt. A read of the lowest passes through the drivers of all, on one stack.
MAX_CHAIN: Final = 200

#: Python frames of one layer when it is opened or closed, which takes the most; twice as many with ASYNCEMU_DEBUG.
_FRAMES: Final = 40


class Opening:
    """Of one node. Its home."""

    def __init__(self, graph: BlockGraph, where: str, mode: OpenMode, *, alone: bool) -> None:
        self._graph = graph
        self._where = where
        self._mode = mode
        self._alone = alone
        self.node: BlockNode | None = None
        #: Nodes that the image named, not the options.
        self.named_below: list[BlockNode] = []

    async def open(self, driver: BlockDriver[Any], below: Mapping[ChildSlot, BlockNode]) -> BlockNode:
        """The node of ``driver``, opened, with its edges. Raises ConfigError, and leaves nothing."""
        driver.environment = self
        driver.mode = self._mode
        node = BlockNode(driver)
        node.graph_lock = self._graph.lock
        node.observer = self._graph.observer
        for slot in driver.children:
            setattr(driver, slot.name, None)
        try:
            for slot, child in below.items():
                self._attach(node, slot.name, driver.child_role(slot), child)
            self.node = node
            self._refresh(node)
            await node.open()
            await self._open_backing(node)
            self._refresh(node)
        except ConfigError as error:
            await node.abandon()
            raise ConfigError(f"{self._where}.{error.where}", error.problem, error.remedy) from error
        except (OSError, BlockError) as error:
            await node.abandon()
            raise ConfigError(self._where, str(error)) from error
        except BaseException as error:
            await node.abandon()
            if isinstance(error, Exception):
                author_errors.raise_as_config_error(self._where, error)
            raise
        # Nobody uses it yet, so nothing of it is in flight.
        for section in self._graph.sections:
            section.name(node)
        follow(node, *(edge.node for edge in node.children))
        return node

    async def abandon(self) -> None:
        """The node is not wanted any more, whether it was opened or not."""
        if self.node is not None:
            await self.node.abandon()

    def _refresh(self, node: BlockNode) -> None:
        # Who is put in the place of another gets its permissions there.
        if self._alone:
            refresh_permissions([node])

    def _attach(self, node: BlockNode, name: str, role: int, child: BlockNode) -> BlockChild:
        if child.closing or child.closed:
            raise ConfigError(name, f"{child.name!r} is being closed")
        edge = BlockChild(node, name, role, child)
        node.attach(edge)
        return edge

    # ---- the backing file

    async def _open_backing(self, node: BlockNode) -> None:
        driver = node.driver
        if node.backing is not None or not driver.supports_backing or not self._mode.open_backing:
            return
        slot = next(slot for slot in driver.children if slot.role & ROLE_COW)
        given = getattr(driver.options, slot.name)
        if isinstance(given, str) or (given is None and driver.options.is_given(slot.name)):
            return
        if given is None and not driver.backing_file:
            return
        identity = image_identity(node)
        if identity in self._mode.overlays:
            raise ConfigError(slot.name, f"Backing file '{driver.backing_file}' creates an infinite loop.")
        overlays = (*self._mode.overlays, identity)
        if len(overlays) >= MAX_CHAIN:
            raise ConfigError(slot.name, f"More than {MAX_CHAIN} images are above each other")
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + len(overlays) * _FRAMES))
        table = self._backing_table(node, given or {})
        try:
            await self._open_child(slot, table, overlays, given or {})
        except ConfigError as error:
            raise ConfigError(error.where, f"Could not open backing file: {error.problem}", error.remedy) from error

    def _backing_table(self, node: BlockNode, given: Mapping[str, object]) -> dict[str, object]:
        from asyncemu.block.probing import backing_table

        table = backing_table(node, node.driver.backing_file) if node.driver.backing_file else {}
        return {**table, **given}

    # ---- Environment

    async def open_child(self, slot: ChildSlot, table: Mapping[str, object]) -> BlockChild:
        """See Environment."""
        return await self._open_child(slot, table, self._mode.overlays, table)

    async def _open_child(
        self, slot: ChildSlot, table: Mapping[str, object], overlays: tuple[object, ...], explicit: Mapping[str, object]
    ) -> BlockChild:
        node, graph = self.node, self._graph
        assert node is not None
        driver = node.driver
        inherits = inherited(type(driver), slot, table, driver.options)
        mode = self._mode._replace(named_by_image=True, overlays=overlays)
        try:
            child = await call_to_end(
                graph.context, lambda: graph.add_table_locked(inherits, f"{self._where}.{slot.name}", mode)
            )
        except ConfigError as error:
            # Who opens us puts our place before it.
            raise ConfigError(error.where.removeprefix(f"{self._where}."), error.problem, error.remedy) from error
        self.named_below.append(child)
        child.explicit = frozenset(explicit)
        await share_home(node, child)
        edge = self._attach(node, slot.name, driver.child_role(slot), child)
        self._refresh(node)
        return edge

    def refresh_child(self, child: BlockChild, role: int) -> None:
        """See Environment."""
        child.role = role
        assert self.node is not None
        self._refresh(self.node)

    @property
    def throttle_groups(self) -> ThrottleGroups:
        """See Environment."""
        return self._graph.throttle_groups

    @property
    def writes_in_place(self) -> bool:
        """See Environment."""
        return self._graph.writes_in_place

    def secret(self, name: str, where: str) -> bytes:
        """See Environment."""
        if name not in self._graph.secrets:
            raise ConfigError(where, f"No secret with id '{name}'")
        return self._graph.secrets[name]

    def tls_credentials(self, name: str, where: str) -> TlsCredentials:
        """See Environment."""
        if name not in self._graph.tls_credentials:
            raise ConfigError(where, f"No TLS credentials with id '{name}'")
        return self._graph.tls_credentials[name]
