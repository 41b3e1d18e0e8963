# SPDX-License-Identifier: GPL-2.0-or-later
"""``json:{...}``: a name that is a table of options, nested or with dotted keys. QEMU: parse_json_filename."""

from __future__ import annotations

from typing import Any

from asyncemu.block.naming.json_reader import JsonError, read_json
from asyncemu.block.naming.node_tables import completed
from asyncemu.block.naming.tables import flattened, nested
from asyncemu.errors import ConfigError


def json_table(name: str) -> dict[str, Any]:
    """The table of the node that ``name`` (``json:`` and an object) describes. Raises ConfigError."""
    return completed(json_options(name))


def json_options(name: str) -> dict[str, Any]:
    """The object in ``name``, nested. Raises ConfigError."""
    try:
        options = read_json(name.removeprefix("json:"))
    except JsonError as error:
        raise ConfigError("filename", f"Could not parse the JSON options: {error}") from None
    if not isinstance(options, dict):
        raise ConfigError("filename", "Invalid JSON object given")
    return nested(flattened(options).items())
