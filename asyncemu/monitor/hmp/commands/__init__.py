# SPDX-License-Identifier: GPL-2.0-or-later
"""The HMP commands, a file a subject. Importing this fills the table."""

from asyncemu.monitor.hmp.commands import (
    about,
    block,
    block_info,
    chardevs,
    devices,
    drives,
    memory,
    memory_info,
    nbd,
    networks,
    objects,
    registers,
    running,
    tracing,
)

__all__ = [
    "about",
    "block",
    "block_info",
    "chardevs",
    "devices",
    "drives",
    "memory",
    "memory_info",
    "nbd",
    "networks",
    "objects",
    "registers",
    "running",
    "tracing",
]
