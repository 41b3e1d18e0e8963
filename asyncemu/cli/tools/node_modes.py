# SPDX-License-Identifier: GPL-2.0-or-later
"""Discard and AIO modes, under QEMU's names (``--discard``, ``--aio``), and where in the options of nodes they go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: From what the user writes to the option ``discard`` of a block node. QEMU: bdrv_parse_discard_flags.
DISCARD_MODES: Final = {"ignore": "ignore", "off": "ignore", "unmap": "unmap", "on": "unmap"}

AIO_MODES: Final = ("threads", "native", "io_uring")

#: Drivers that have an option ``aio``.
_STORAGE: Final = ("file", "host_device")


def with_aio(table: Mapping[str, Any], aio: str) -> dict[str, Any]:
    """``table``, a block node's, with the option ``aio`` where its storage is and does not say it itself."""
    below = table.get("file")
    if isinstance(below, Mapping):
        return {**table, "file": with_aio(below, aio)}
    driver = table.get("driver")
    is_storage = driver in _STORAGE or (driver is None and "filename" in table)
    return {"aio": aio, **table} if is_storage else dict(table)
