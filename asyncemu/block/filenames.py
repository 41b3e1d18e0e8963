# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of image files that are relative to another image.

QEMU: path_combine, bdrv_dirname, bdrv_make_absolute_filename, bdrv_get_full_backing_filename_from_filename.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from asyncemu.errors import ConfigError

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode

#: Protocols whose names have slashes, but no directories; as messages spell them.
_WITHOUT_DIRECTORIES: Final = {"nbd": "NBD"}


def has_protocol(name: str) -> bool:
    """Does ``name`` begin with ``protocol:``? A colon behind a slash is a part of a file's name."""
    colon, slash = name.find(":"), name.find("/")
    return colon >= 0 and (slash < 0 or colon < slash)


def path_combine(base: str, name: str) -> str:
    """What an image named ``base`` calls ``name``: beside it, unless ``name`` says where it is by itself."""
    if not _is_relative(name):
        return name
    start = base.index(":") + 1 if has_protocol(base) else 0
    return base[: max(base.rfind("/") + 1, start)] + name


def backing_name_beside(image: str, name: str) -> str | None:
    """What an image that is known by its name ``image`` only calls ``name``; None: relative to what has no directory.

    QEMU: bdrv_get_full_backing_filename_from_filename.
    """
    if image.startswith("json:") and _is_relative(name):
        return None
    return path_combine(image, name)


def _is_relative(name: str) -> bool:
    """Is it a name that depends on where it is written?"""
    return bool(name) and not has_protocol(name) and not name.startswith("/")


def storage_of(node: BlockNode) -> BlockNode:
    """The node below ``node`` that stores what it is about: the file of a format."""
    while (edge := node.primary_child) is not None:
        node = edge.node
    return node


def plain_filename(node: BlockNode) -> str:
    """By which name the protocol ``node`` was opened, or empty."""
    return node.driver.exact_filename or str(getattr(node.driver.options, "filename", ""))


def full_backing_filename(node: BlockNode, name: str) -> str:
    """What the image of ``node`` calls ``name``, as one has to call it from here. ConfigError: it has no directory."""
    if not _is_relative(name):
        return name
    storage = storage_of(node)
    kind = storage.driver.name
    base = plain_filename(storage)
    if not base or kind in _WITHOUT_DIRECTORIES:
        kind = _WITHOUT_DIRECTORIES.get(kind, kind)
        raise ConfigError("backing", f"Cannot generate a base directory for {kind} nodes")
    return path_combine(base, name)


def image_identity(node: BlockNode) -> object:
    """Equal for two nodes that are the same image, as far as one can tell."""
    name = plain_filename(storage_of(node))
    try:
        status = os.stat(name)  # noqa: PTH116 (pathlib takes 5 ms to import)
    except (OSError, ValueError):
        return name or node
    return status.st_dev, status.st_ino
