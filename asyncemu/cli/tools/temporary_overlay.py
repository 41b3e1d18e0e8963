# SPDX-License-Identifier: GPL-2.0-or-later
"""``-s``: what is written goes to a temporary qcow2 image over the one that is named, and is gone in the end.

The temporary file has a name only while it is being opened. QEMU: bdrv_append_temp_snapshot.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.backend import BlockBackend
from asyncemu.block.flags import FUA, PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.opening import Image, ImageArgument, close_image, open_image
from asyncemu.plugins import find

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode
    from asyncemu.cli.tools.runner import ToolSession

#: Where temporary images go that nobody says a place for: they may be large, and /tmp may be memory.
_DIRECTORY: Final = "/var/tmp"


async def open_overlay(session: ToolSession, argument: ImageArgument) -> Image:
    """Open the image to be read only, and what is to be written over it. ToolError, ConfigError, BlockError."""
    below = await open_image(session, argument._replace(writable=False))
    path = ""
    try:
        path = _new_file()
        await _create(session, path, below.backend.size)
        node = await _open(session, argument, path, below.node)
        permissions = PERM_CONSISTENT_READ | (PERM_WRITE if argument.writable else 0)
        backend = BlockBackend("", session.context, permissions, PERM_ALL)
        await backend.insert(node)
    except BaseException:
        await close_image(session, below)
        raise
    finally:
        if path:
            os.unlink(path)  # noqa: PTH108  # pathlib takes a tool too long to import
    # From here on it goes with the overlay.
    await below.backend.remove()
    below_node = node.backing
    assert below_node is not None
    below_node.node.kept = False
    return Image(argument.text, backend, FUA if argument.cache.writethrough else 0)


def _new_file() -> str:
    directory = os.environ.get("TMPDIR") or _DIRECTORY
    path = f"{directory}/vl.{os.urandom(6).hex()}"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        # Nothing but the message: it is all that there is to say.
        raise ToolError(f"Could not open temporary file '{path}': {problem}") from None
    return path


async def _create(session: ToolSession, path: str, size: int) -> None:
    qcow2: Any = find("blockdev", "qcow2", "driver")
    storage = await session.graph.add_table({"driver": "file", "filename": path}, "overlay")
    file = BlockBackend("", session.context, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL)
    file.allow_write_beyond_end = True
    await file.insert(storage)
    try:
        await qcow2.create(file, qcow2.creation.parse({"size": size}, "overlay"))
    finally:
        await file.remove()
        await session.graph.remove(storage)


async def _open(session: ToolSession, argument: ImageArgument, path: str, below: BlockNode) -> BlockNode:
    # What a crash would leave of it is of no use to anybody: it need not be flushed.
    cache = {"direct": argument.cache.direct, "no-flush": True}
    table: dict[str, object] = {
        "driver": "qcow2",
        "file": {"driver": "file", "filename": path},
        "backing": below.name,
        "read-only": not argument.writable,
        "cache": cache,
        "discard": dict(argument.options).get("discard", "ignore"),
    }
    return await session.graph.add_table(table, "overlay")
