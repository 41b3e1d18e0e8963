# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that a node keeps for life."""

from __future__ import annotations

from asyncemu.block.driver import BlockDriverOptions
from asyncemu.errors import ConfigError
from asyncemu.plain_options import PlainOptions


def refuse_changes(before: PlainOptions, after: PlainOptions, *names: str) -> None:
    """ConfigError, in QEMU's words, when one of the fields ``names`` is another in ``after``."""
    for name in names:
        if getattr(before, name) != getattr(after, name):
            key = before.fields[name].key
            raise ConfigError(key, f"Cannot change the option '{key}'")


def refuse_own_changes(before: BlockDriverOptions, after: BlockDriverOptions) -> None:
    """The same, for all fields but those that every driver has."""
    refuse_changes(before, after, *(name for name in before.fields if name not in BlockDriverOptions.fields))
