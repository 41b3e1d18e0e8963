# SPDX-License-Identifier: GPL-2.0-or-later
"""What an open image is called in output, and what a relative backing file is relative to."""

from __future__ import annotations

from asyncemu.block.filenames import has_protocol, path_combine
from asyncemu.block.node import BlockNode
from asyncemu.block.node_filename import node_filename


def filename_of(node: BlockNode) -> str:
    """The name of the image that ``node`` is."""
    return node_filename(node)


def full_backing_name(image: str, backing: str) -> str | None:
    """The backing file that an image named ``image`` calls ``backing``; None: a name relative to what has no place.

    QEMU: bdrv_get_full_backing_filename_from_filename.
    """
    is_relative = bool(backing) and not has_protocol(backing) and not backing.startswith("/")
    if is_relative and image.startswith("json:"):
        return None
    return path_combine(image, backing)
