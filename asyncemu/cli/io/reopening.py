# SPDX-License-Identifier: GPL-2.0-or-later
"""reopen: other options for the image that is open. QEMU: reopen_f."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from asyncemu.block.flags import FUA, PERM_WRITE, PERM_WRITE_UNCHANGED
from asyncemu.block.naming.tables import nested
from asyncemu.cli.io.command import BadUsage, Invocation
from asyncemu.cli.io.opening import add_options, cache_mode
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.option_strings import split_options

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode
    from asyncemu.cli.io.exerciser import Exerciser


async def reopen(exerciser: Exerciser, line: Invocation) -> None:
    """All of its options that are not named stay as they are."""
    read_only: bool | None = None
    cache = None
    text: str | None = None
    for letter, argument in line.options("c:o:rw"):
        if letter == "c":
            cache = cache_mode(argument)
        elif letter == "o":
            text = add_options(text, argument)
        elif read_only is not None:
            raise ToolError("Only one -r/-w option may be given")
        else:
            read_only = letter == "r"
    if line.rest:
        raise BadUsage
    table = _table(text or "")
    backend, node = exerciser.backend, exerciser.backend.node
    if "read-only" in table:
        if read_only is not None:
            raise ToolError("Cannot set both -r/-w and 'read-only'")
    elif read_only is not None:
        table["read-only"] = read_only
    of_cache = table.get("cache")
    if isinstance(of_cache, Mapping) and of_cache.keys() & {"direct", "no-flush"}:
        if cache is not None:
            raise ToolError("Cannot set both -c and the cache options")
    elif cache is not None:
        table["cache"] = {**cache.table(), **(of_cache if isinstance(of_cache, Mapping) else {})}
    changes = dict(_changes(node, table))
    if table.get("read-only") is True:
        # Nobody could write any more; the next command that wants to asks for it again.
        await backend.drain()
        backend.set_permissions(backend.permissions & ~(PERM_WRITE | PERM_WRITE_UNCHANGED), backend.shared)
    from asyncemu.block.reopen import reopen as reopen_nodes

    await reopen_nodes(exerciser.session.graph, changes, keep=True)
    if cache is not None:
        exerciser.image.write_flags = FUA if cache.writethrough else 0


def _table(text: str) -> dict[str, Any]:
    try:
        return nested(split_options(text))
    except ValueError as error:
        raise ToolError(str(error)) from error


def _changes(node: BlockNode, table: dict[str, Any]) -> Iterator[tuple[BlockNode, dict[str, Any]]]:
    """``table`` without what is about nodes below, and the same for each of these. ToolError: an option is fixed."""
    driver = node.driver
    own: dict[str, Any] = {}
    for key, value in table.items():
        child = next((edge.node for edge in node.children if edge.name == key.replace("-", "_")), None)
        if child is not None and isinstance(value, dict):
            yield from _changes(child, value)
        elif (key, value) not in (("driver", driver.name), ("node-name", node.name)):
            own[key] = value
    keys = {field.key for field in driver.options.fields.values()}
    for key, value in own.items():
        if key not in keys:
            raise ToolError(f"Cannot change the option '{key}'")
        if key == "cache" and isinstance(value, Mapping):
            for each in value.keys() - {"direct", "no-flush"}:
                raise ToolError(f"Cannot change the option 'cache.{each}'")
    yield node, own
