# SPDX-License-Identifier: GPL-2.0-or-later
"""A new image: its file is made by the protocol, what is in it by the format. QEMU: bdrv_create, bdrv_create_file."""

from __future__ import annotations

import errno
import os
from typing import Any

from asyncemu.block.backend import BlockBackend
from asyncemu.block.driver import BlockDriver
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE
from asyncemu.block.image_options import table_of_name
from asyncemu.block.naming.protocols import protocol_driver
from asyncemu.cli.img.creation import CreationOptions
from asyncemu.cli.tools.failure import ToolError, errno_of, hint_of, in_qemus_words
from asyncemu.cli.tools.opening import driver_class
from asyncemu.cli.tools.runner import ToolSession
from asyncemu.errors import AsyncemuError, BlockError, ConfigError


def format_class(name: str, problem: str = "Unknown file format '{}'") -> type[BlockDriver[Any]]:
    """The driver of a format. ToolError."""
    try:
        return driver_class(name)
    except ToolError:
        raise ToolError(problem.format(name)) from None


def protocol_class(filename: str) -> type[BlockDriver[Any]]:
    """The driver of what ``filename`` names. ToolError."""
    if filename.startswith("json:"):
        raise ToolError("Unknown protocol 'json'")
    try:
        return driver_class(protocol_driver(filename))
    except ConfigError as error:
        raise ToolError(in_qemus_words(error)) from error
    except ToolError:
        raise ToolError(f"Unknown protocol '{filename.partition(':')[0]}'") from None


def check_can_create(driver: type[BlockDriver[Any]], protocol: type[BlockDriver[Any]]) -> None:
    """ToolError when one of the two can't."""
    if driver.creation is None:
        raise ToolError(f"Format driver '{driver.name}' does not support image creation")
    if protocol.creation is None and protocol.protocol == "":
        raise ToolError(f"Protocol driver '{protocol.name}' does not support image creation")


async def create_image(
    session: ToolSession,
    driver: type[BlockDriver[Any]],
    protocol: type[BlockDriver[Any]],
    filename: str,
    options: CreationOptions,
) -> None:
    """Make it, in the place of what is there. ToolError, without the file's name; then what was made is gone again."""
    size = options.number("size") or 0
    try:
        table = _table_of(filename, protocol)
        if driver.name in ("raw", protocol.name):
            await _create_file(session, protocol, table, options, size)
            return
        form = options.for_format()
        await _create_file(session, protocol, table, options, 0)
    except (AsyncemuError, OSError) as error:
        raise _told(driver, options, error) from error
    try:
        await _with_file(session, table, lambda file: driver.create(file, form))
    except (AsyncemuError, OSError) as error:
        if protocol.name == "file":
            _remove(str(table["filename"]))
        raise _told(driver, options, error) from error


def _table_of(filename: str, protocol: type[BlockDriver[Any]]) -> dict[str, Any]:
    try:
        return table_of_name(filename)
    except ConfigError as error:
        raise ToolError(_no_creation(protocol, error)) from error


def _no_creation(protocol: type[BlockDriver[Any]], error: Exception) -> str:
    return (
        f"Protocol driver '{protocol.name}' does not support image creation, and opening the image failed: "
        f"{in_qemus_words(error)}"
    )


async def _create_file(
    session: ToolSession,
    protocol: type[BlockDriver[Any]],
    table: dict[str, Any],
    options: CreationOptions,
    size: int,
) -> None:
    if protocol.creation is not None:
        await protocol.create_file(table, options.for_protocol(size))
        return
    # What is there already may do: an NBD export.
    try:
        await _with_file(session, table, lambda file: _use_existing(file, size))
    except (AsyncemuError, OSError) as error:
        raise ToolError(_no_creation(protocol, error)) from error


async def _use_existing(file: BlockBackend, size: int) -> None:
    """Make what is there as large as it must be, and no image of any format."""
    if size > file.size:
        await file.truncate(size)
    first = min(file.size, 512)
    if first:
        try:
            await file.write_zeroes(0, first)
        except BlockError as error:
            reason = os.strerror(error.errno)
            raise ToolError(f"Failed to clear the new image's first sector: {reason}") from error


async def _with_file(session: ToolSession, table: dict[str, Any], use: Any) -> None:
    node = await session.graph.add_table({**table, "read-only": False}, "image")
    try:
        permissions = PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE
        # A format's image is nobody else's to write to. QEMU opens what it has made once more, and finds out then.
        file = BlockBackend("", session.context, permissions, PERM_ALL & ~PERM_WRITE)
        file.allow_write_beyond_end = True
        await file.insert(node)
        try:
            await use(file)
        finally:
            await file.remove()
    finally:
        await session.graph.remove(node)


def _told(driver: type[BlockDriver[Any]], options: CreationOptions, error: Exception) -> ToolError:
    if errno_of(error) == errno.EFBIG:
        hint = " (try using a larger cluster size)" if options.knows("cluster_size") else ""
        return ToolError(f"The image size is too large for file format '{driver.name}'{hint}")
    return ToolError(in_qemus_words(error), hint=hint_of(error))


def _remove(filename: str) -> None:
    try:
        os.unlink(filename)  # noqa: PTH108  # pathlib is slow to import
    except OSError:
        pass
