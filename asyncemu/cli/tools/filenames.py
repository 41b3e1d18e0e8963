# SPDX-License-Identifier: GPL-2.0-or-later
"""What an open image is called in output, and what a relative backing file is relative to."""

from __future__ import annotations

from asyncemu.block.node import BlockNode
from asyncemu.block.node_filename import node_filename


def filename_of(node: BlockNode) -> str:
    """The name of the image that ``node`` is."""
    return node_filename(node)


def full_backing_name(image: str, backing: str) -> str | None:
    """The backing file that an image named ``image`` calls ``backing``; None: a name relative to what has no place.

    QEMU: bdrv_get_full_backing_filename_from_filename, path_combine.
    """
    if not backing or has_protocol(backing) or backing.startswith("/"):
        return backing
    if image.startswith("json:"):
        return None
    prefix = ""
    if has_protocol(image):
        protocol, _, image = image.partition(":")
        prefix = protocol + ":"
        if image.startswith("//") and "/" not in image[2:]:
            image += "/"
    return prefix + image[: image.rfind("/") + 1] + backing


def has_protocol(name: str) -> bool:
    """Does ``name`` begin with ``protocol:``? A colon behind a slash is a part of a file's name."""
    colon, slash = name.find(":"), name.find("/")
    return colon >= 0 and (slash < 0 or colon < slash)
