# SPDX-License-Identifier: GPL-2.0-or-later
"""Which driver is meant where none is named: by the name for a protocol, by the first bytes for a format.

QEMU: bdrv_find_protocol, find_image_format. A raw image whose first bytes a guest may have chosen is dangerous to
probe; who knows the format should say it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from asyncemu.block.driver import BlockDriver
from asyncemu.block.filenames import full_backing_filename
from asyncemu.block.homes import at_home, to_end
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.tables import unknown_node
from asyncemu.errors import ConfigError
from asyncemu.plugins import find

if TYPE_CHECKING:
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.node import BlockNode

#: Bytes of the image that a format is asked about. QEMU: BLOCK_PROBE_BUF_SIZE.
PROBED_BYTES: Final = 512

#: Formats that are asked; what none of them knows is raw.
_FORMATS: Final = ("qcow2",)

#: Options of the storage below a format, when they are given beside each other.
_OF_THE_FILE: Final = ("filename", "aio", "locking")

#: Options that the storage below takes from a format that is not known yet.
_INHERITED: Final = ("read-only", "auto-read-only", "force-share", "cache")


def file_driver(filename: str) -> str:
    """``file``, or ``host_device`` for the name of a block or character device."""
    try:
        mode = os.stat(filename).st_mode  # noqa: PTH116  # a Path would spell it otherwise
    except (OSError, ValueError):
        return "file"
    return "host_device" if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) else "file"


def backing_table(node: BlockNode, name: str) -> dict[str, object]:
    """The table of the backing file that the image of ``node`` calls ``name``. ConfigError."""
    from asyncemu.block.image_options import image_table

    return image_table(full_backing_filename(node, name), node.driver.backing_format or None)


async def with_driver(graph: BlockGraph, table: Mapping[str, object], where: str, mode: OpenMode) -> BlockNode:
    """Add the node of a table that names no driver: the graph's lock is held."""
    rest = dict(table)
    below = rest.pop("file", None)
    if below is None:
        filename = rest.pop("filename", None)
        if not isinstance(filename, str):
            raise ConfigError(f"{where}.driver", "is missing", "name the driver, or a filename to look at")
        from asyncemu.block.image_options import image_table, table_of_name

        if filename.startswith("json:"):
            return await graph.add_table_locked({**image_table(filename), **rest}, where, mode)
        below = table_of_name(filename)
        below.update({key: rest.pop(key) for key in _OF_THE_FILE if key in rest})
    if isinstance(below, str):
        if below not in graph.nodes:
            raise unknown_node(f"{where}.file", below)
        storage = graph.nodes[below]
    elif isinstance(below, Mapping):
        inherits: dict[str, object] = {key: rest[key] for key in _INHERITED if key in rest}
        storage = await graph.add_table_locked({"discard": "unmap", **inherits, **below}, f"{where}.file", mode)
        storage.explicit = frozenset(below)
    else:
        raise ConfigError(f"{where}.file", "must be a node-name or a table")
    try:
        head = await at_home(storage, lambda: storage.pread(0, min(PROBED_BYTES, storage.size)))
        name = probe(bytes(head), str(getattr(storage.driver.options, "filename", "")))
        node = await graph.add_table_locked({**rest, "driver": name, "file": storage.name}, where, mode)
    except BaseException:
        await to_end(graph.drop_locked(storage))
        raise
    if name == "raw":
        from asyncemu.block.raw import RawDriver

        assert isinstance(node.driver, RawDriver)
        await at_home(node, node.driver.restrict)
    return node


def probe(head: bytes, filename: str) -> str:
    """The format of an image that begins with ``head``."""
    best, name = 0, "raw"
    for each in _FORMATS:
        driver = find("blockdev", each, "driver")
        assert issubclass(driver, BlockDriver)
        score = driver.probe(head, filename)
        if score > best:
            best, name = score, each
    return name
