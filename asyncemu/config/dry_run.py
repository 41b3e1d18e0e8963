# SPDX-License-Identifier: GPL-2.0-or-later
"""What of building a machine can be tried without changing anything: RAM, boot images, block nodes for reading."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asyncemu.block import BlockBackend, BlockGraph
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_WRITE
from asyncemu.config.vm import VmConfig
from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.loop import AioContext, MainLoop
from asyncemu.machine import boot
from asyncemu.machine.virt import RAM_BASE
from asyncemu.memory import GuestRam
from asyncemu.plugin_options import configure


def dry_run(config: VmConfig) -> list[ConfigError]:
    """All that would fail. Blocks; not within a loop."""
    errors: list[ConfigError] = []
    try:
        # Memory is taken when it is used: this asks the host and takes none.
        GuestRam(config.machine.memory).close()
        boot.prepare(config.machine, RAM_BASE, lambda initrd: b"")
    except ConfigError as error:
        errors.append(error)
    return errors + MainLoop.run(lambda context: _block_errors(context, config))


async def _block_errors(context: AioContext, config: VmConfig) -> list[ConfigError]:
    graph = BlockGraph(context, config.directory)
    errors: list[ConfigError] = []
    try:
        for index, table in enumerate(config.blockdev_tables):
            where = f"blockdev[{index}]"
            errors += _unwritable_files(table, where, config)
            try:
                await graph.add_table(_for_reading(table, config), where)
            except ConfigError as error:
                errors.append(error)
            except AsyncemuError as error:
                errors.append(ConfigError(where, str(error)))
        errors += await _drives_in_use(graph, config)
    finally:
        await graph.close()
    return errors


async def _drives_in_use(graph: BlockGraph, config: VmConfig) -> list[ConfigError]:
    """Disks that another process writes to, by its image locks, where the device does not share them."""
    errors: list[ConfigError] = []
    for index, device in enumerate(config.devices):
        node = graph.nodes.get(str(getattr(device.options, "drive", "")))
        if node is None or getattr(device.options, "share_rw", False):
            continue
        # As a reader: nothing is opened for writing here.
        backend = BlockBackend("check", graph.context, PERM_CONSISTENT_READ, PERM_ALL & ~PERM_WRITE)
        try:
            await backend.insert(node)
            await backend.remove()
        except ConfigError as error:
            errors.append(ConfigError(f"device[{index}].{error.where}", error.problem, error.remedy))
    return errors


def _for_reading(table: Mapping[str, Any], config: VmConfig) -> dict[str, Any]:
    """``table`` and the tables in it with read-only set."""
    changed = {**table, "read-only": True}
    for key in _children(table, config):
        if isinstance(table.get(key), dict):
            changed[key] = _for_reading(table[key], config)
    return changed


def _unwritable_files(
    table: Mapping[str, Any], where: str, config: VmConfig, read_only: bool = False
) -> list[ConfigError]:
    """Files that are there and that opening for writing would refuse; the ``file`` driver's own words."""
    node = configure("blockdev", table, where, config.directory)
    read_only = bool(getattr(node.options, "read_only", False)) or (read_only and "read-only" not in table)
    path = getattr(node.options, "filename", None)
    errors: list[ConfigError] = []
    if not read_only and path is not None and Path(path).is_file() and not os.access(path, os.W_OK):
        remedy = "set read-only = true if it is only to be read"
        errors.append(ConfigError(f"{where}.filename", f"Could not open '{path}': Permission denied", remedy))
    for key in _children(table, config):
        if isinstance(table.get(key), dict):
            errors += _unwritable_files(table[key], f"{where}.{key}", config, read_only)
    return errors


def _children(table: Mapping[str, Any], config: VmConfig) -> tuple[str, ...]:
    """Keys that may hold a table of a block node."""
    slots = getattr(configure("blockdev", table, "", config.directory).plugin, "children", ())
    return tuple(slot.name.replace("_", "-") for slot in slots)
