# SPDX-License-Identifier: GPL-2.0-or-later
"""The name of an open node, from those of the nodes below it. QEMU: BlockDriverState.filename."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncemu.block.naming.canonical import NodeName, node_name

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode


def node_filename(node: BlockNode) -> str:
    """A plain name, a protocol's, or ``json:{...}``: what opens the same again. Home context."""
    return name_of(node).filename


def name_of(node: BlockNode) -> NodeName:
    """The same with its parts. Home context."""
    children = {edge.name: name_of(edge.node) for edge in node.children}
    primary = node.primary_child
    return node_name(
        node.driver.name,
        node.driver.options.written(),
        children,
        primary=primary.name if primary is not None else "",
        is_protocol=bool(node.driver.protocol),
        is_filter=node.filtered is not None and not node.driver.is_format,
        backing_overridden=_is_backing_overridden(node, children.get("backing")),
    )


def _is_backing_overridden(node: BlockNode, backing: NodeName | None) -> bool:
    """Do the options say of the backing file what the image does not? QEMU: bdrv_backing_overridden."""
    driver = node.driver
    if not driver.supports_backing or node.driver.mode.no_io or not driver.options.is_given("backing"):
        # Not even read: nothing was overridden that anybody had seen.
        return False
    return driver.backing_file != (backing.filename if backing is not None else "")
