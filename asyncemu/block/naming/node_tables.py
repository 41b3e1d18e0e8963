# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU lets a table of a node leave out, filled in: tables for BlockGraph.add_table.

A child that holds bytes and has a filename needs no driver: it is a file or a device (a colon in such a name is no
protocol). Where an image's format is to be looked at, there is ``file`` and no ``driver``.
"""

from __future__ import annotations

from typing import Any, Final

from asyncemu.block.naming.protocols import file_table, named_child, probed_child
from asyncemu.errors import ConfigError

#: Children that are never looked at for a format. QEMU: those opened with BDRV_O_PROTOCOL.
_STORAGE: Final = frozenset({"file", "data-file", "image", "raw"})
#: Children that are, when no driver is named.
_PROBED: Final = frozenset({"backing", "test", "top", "bottom"})

#: Options of names: of the driver, of the child, and whether its format is looked at.
_NAMED: Final = (("blkdebug", "x-image", "image", False), ("blkverify", "x-raw", "raw", False))
_NAMED_PROBED: Final = (("blkverify", "x-image", "test", True),)


def completed(table: dict[str, Any]) -> dict[str, Any]:
    """``table``, nested, of a node that may be of any format. Raises ConfigError in QEMU's words."""
    table = dict(table)
    if not isinstance(table.get("driver", ""), str):
        del table["driver"]
    for driver, key, child, probed in (*_NAMED, *_NAMED_PROBED):
        if table.get("driver") == driver and isinstance(table.get(key), str):
            table[child] = (probed_child if probed else named_child)(table.pop(key))
    for key, value in list(table.items()):
        if key in _STORAGE and (not isinstance(value, (str, dict, list)) or value in ({}, [])):
            # What is no child at all is as good as none.
            del table[key]
        elif key in _STORAGE and isinstance(value, dict):
            table[key] = _storage(value)
        elif key in _PROBED and isinstance(value, dict):
            table[key] = completed(value)
    if "driver" not in table and "file" not in table:
        raise ConfigError("driver", "Must specify either driver or file")
    return table


def _storage(table: dict[str, Any]) -> dict[str, Any]:
    if "driver" not in table and isinstance(table.get("filename"), str):
        table = {**table, "driver": file_table(table["filename"])["driver"]}
    if "driver" not in table:
        raise ConfigError("file.driver", "Must specify either driver or file")
    return completed(table)
