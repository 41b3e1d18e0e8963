# SPDX-License-Identifier: GPL-2.0-or-later
"""[[throttle-group]] tables: limits of I/O that several block nodes share. QEMU: objects of type ``throttle-group``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncemu.block.throttle.config import ThrottleConfig, ThrottleLimits
from asyncemu.errors import ConfigError
from asyncemu.plain_options import PlainOptions, option
from asyncemu.plugin_options import take_identity, validate


class ThrottleGroupOptions(PlainOptions):
    """[[throttle-group]], without its id; QEMU's names."""

    limits: ThrottleLimits = option(default=ThrottleLimits(), description="Limits of all members together.")


@dataclass(frozen=True, slots=True)
class ThrottleGroupEntry:
    """A checked [[throttle-group]] table."""

    identity: str
    config: ThrottleConfig


def configure_throttle_group(table: Mapping[str, Any], where: str) -> ThrottleGroupEntry:
    """``table``, which is at the TOML path ``where``. Raises ConfigError."""
    rest = dict(table)
    identity = take_identity("throttle-group", rest, where)
    if not identity:
        raise ConfigError(f"{where}.id", "is missing", "name it, so that a block node can refer to it")
    options = validate(ThrottleGroupOptions, rest, where, other_keys=("id",))
    return ThrottleGroupEntry(identity, options.limits.config(f"{where}.limits"))
