# SPDX-License-Identifier: GPL-2.0-or-later
"""ThrottleGroups: the throttle groups of a block graph, by name. QEMU: the objects of type ``throttle-group``."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping

from asyncemu.block.throttle.config import ThrottleConfig, ThrottleLimits
from asyncemu.block.throttle.group import ThrottleGroup
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import Clock, ClockKind, MonotonicSource

#: QEMU's names of the limits as properties of the object, one by one.
_PREFIX = "x-"


class ThrottleGroups:
    """Groups are added and removed in the graph's home, and looked up from any thread."""

    def __init__(self) -> None:
        #: Of groups that are added later. A machine that is driven step by step has another one.
        self.clock = Clock(ClockKind.REALTIME, MonotonicSource())
        self._groups: dict[str, ThrottleGroup] = {}

    def add(self, name: str, config: ThrottleConfig, where: str) -> ThrottleGroup:
        """A new group. ConfigError: the name is taken. ``config`` has been checked."""
        if name in self._groups:
            raise ConfigError(f"{where}.id", "A group with this name already exists")
        group = self._groups[name] = ThrottleGroup(name, config, self.clock)
        return group

    def remove(self, name: str) -> None:
        """Forget a group. KeyError: there is none; BlockError (EBUSY): it has members."""
        if self._groups[name].members:
            raise BlockError(name, errno.EBUSY, "throttle group with members")
        del self._groups[name]

    def find(self, name: str, where: str) -> ThrottleGroup:
        """The group called ``name``. ConfigError: there is none."""
        if name not in self._groups:
            raise ConfigError(where, f"Throttle group '{name}' does not exist")
        return self._groups[name]

    def anonymous(self, config: ThrottleConfig) -> ThrottleGroup:
        """A group of its own for one node."""
        return ThrottleGroup("", config, self.clock)

    def __contains__(self, name: str) -> bool:
        return name in self._groups

    def __iter__(self) -> Iterator[ThrottleGroup]:
        return iter(self._groups.values())


def limits_of_object(properties: Mapping[str, object], where: str) -> ThrottleConfig:
    """Of ``--object throttle-group,id=...``: the rest, ``limits.iops-total=...`` nested, or ``x-iops-total=...``.

    ``where`` is what is at fault in messages. ConfigError.
    """
    rest = dict(properties)
    given = {key.removeprefix(_PREFIX): rest.pop(key) for key in list(rest) if key.startswith(_PREFIX)}
    limits = rest.pop("limits", {})
    if not isinstance(limits, Mapping):
        raise ConfigError(f"{where}.limits", "must be a table")
    if rest:
        raise ConfigError(f"{where}.{next(iter(rest))}", "unknown key")
    return ThrottleLimits.parse({**given, **limits}, where, other_keys=("id", "limits")).config(where)
