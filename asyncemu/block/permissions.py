# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may do what with a node, and what each leaves to the others. QEMU: BLK_PERM_*, bdrv_refresh_perms.

Each edge has two sets: ``permissions``, what the parent may do, and ``shared``, what it leaves to the node's other
parents. A node has the union of the first and what is left by all. What a node's parents may do decides what the node
needs of its children: so a change is worked out from above, for all nodes below, checked as a whole, asked of the
drivers (image locks), and only then made: all or nothing.

Nodes that are connected have one home, and all of this runs there, without waiting.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from asyncemu.block.flags import (
    PERM_ALL,
    PERM_CONSISTENT_READ,
    PERM_RESIZE,
    PERM_WRITE,
    PERM_WRITE_UNCHANGED,
    PERMISSION_NAMES,
    ROLE_DATA,
    ROLE_FILTERED,
    ROLE_METADATA,
)
from asyncemu.block.order import from_above
from asyncemu.errors import BlockError, ConfigError

if TYPE_CHECKING:
    from asyncemu.block.child import BlockChild
    from asyncemu.block.driver import BlockDriver
    from asyncemu.block.node import BlockNode


def permission_names(permissions: int) -> str:
    """``"write, resize"``."""
    return ", ".join(name for bit, name in PERMISSION_NAMES.items() if permissions & bit)


def default_child_permissions(
    driver: BlockDriver[Any], child: BlockChild, permissions: int, shared: int
) -> tuple[int, int]:
    """By the role of ``child``. QEMU: bdrv_default_perms."""
    role = child.role
    if role & ROLE_FILTERED:
        return permissions, shared
    if role & (ROLE_DATA | ROLE_METADATA):
        writable = not driver.node.read_only
        if role & ROLE_METADATA:
            # The format's own data make sense only when nobody else writes them.
            permissions |= PERM_CONSISTENT_READ | (PERM_WRITE | PERM_RESIZE if writable else 0)
            shared &= ~(PERM_WRITE | PERM_RESIZE)
        else:
            # An image may have to grow for new data, and nobody else may cut it off.
            permissions |= PERM_RESIZE if permissions & PERM_WRITE else 0
            shared &= ~PERM_RESIZE
        return permissions, shared
    # A backing file: it is only read, and must not change below us; but whoever shares our writes shares those.
    shared = PERM_WRITE | PERM_RESIZE if shared & PERM_WRITE else 0
    return permissions & PERM_CONSISTENT_READ, shared | PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED


def refresh_permissions(nodes: Iterable[BlockNode], *, writable_so_far: Collection[BlockNode] = ()) -> None:
    """The edges above ``nodes`` have changed, or what their parents want: work out and set all that follows.

    ConfigError (node name) or BlockError: they can't be had together, or by a driver; then no permission has changed,
    and the caller takes its edges back. ``writable_so_far`` are to become read-only.
    """
    changed = dict.fromkeys(nodes)
    update = _Update(writable_so_far)
    asked: list[BlockNode] = []
    try:
        for node in from_above(changed):
            if node not in changed and not update.reaches(node):
                continue
            update.work_out(node)
            asked.append(node)
            try:
                node.driver.check_permissions(*update.of_nodes[node])
            except OSError as error:
                raise BlockError(node.name, error.errno or errno.EIO, "permissions") from error
    except BaseException:
        for node in asked:
            node.driver.abort_permissions()
        raise
    for node in asked:
        node.permissions, node.shared = update.of_nodes[node]
        node.driver.set_permissions(node.permissions, node.shared)
    for edge, (permissions, shared) in update.of_edges.items():
        edge.permissions, edge.shared = permissions, shared


class _Update:
    """What is to be: the sets of edges and nodes."""

    def __init__(self, writable_so_far: Collection[BlockNode]) -> None:
        self._writable_so_far = writable_so_far
        self.of_edges: dict[BlockChild, tuple[int, int]] = {}
        self.of_nodes: dict[BlockNode, tuple[int, int]] = {}

    def edge(self, edge: BlockChild) -> tuple[int, int]:
        return self.of_edges.get(edge) or (edge.permissions, edge.shared)

    def reaches(self, node: BlockNode) -> bool:
        """Has something that a parent of ``node`` has or leaves changed?"""
        return any(self.edge(edge) != (edge.permissions, edge.shared) for edge in node.parents)

    def work_out(self, node: BlockNode) -> None:
        """What the parents of ``node`` have together, and what it needs of its children for that."""
        permissions, shared = 0, PERM_ALL
        for parent in node.parents:
            its_permissions, its_shared = self.edge(parent)
            permissions |= its_permissions
            shared &= its_shared
        self._check_conflicts(node)
        if node.read_only and permissions & (PERM_WRITE | PERM_WRITE_UNCHANGED):
            if node in self._writable_so_far:
                raise ConfigError(node.name, f"Read-only block node '{node.name}' cannot support read-write users")
            raise ConfigError(node.name, "Block node is read-only")
        self.of_nodes[node] = permissions, shared
        for child in node.children:
            needed, left = node.driver.child_permissions(child, permissions, shared)
            self.of_edges[child] = needed, PERM_ALL if child.node.force_share else left

    def _check_conflicts(self, node: BlockNode) -> None:
        for other in node.parents:
            for one in node.parents:
                conflict = self.edge(one)[0] & ~self.edge(other)[1]
                if one is not other and conflict:
                    raise ConfigError(
                        node.name,
                        f"Permission conflict on node '{node.name}': permissions '{permission_names(conflict)}' are "
                        f"both required by {_user(one)} and unshared by {_user(other)}.",
                    )


def _user(edge: BlockChild) -> str:
    return f"{edge.parent.description} (uses node '{edge.node.name}' as '{edge.name}' child)"
