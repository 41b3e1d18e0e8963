# SPDX-License-Identifier: GPL-2.0-or-later
"""ThrottleGroups: the throttle groups of a block graph, by name. QEMU: the objects of type ``throttle-group``."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from typing import Final

from asyncemu.block.throttle.config import ThrottleConfig, ThrottleLimits
from asyncemu.block.throttle.group import ThrottleGroup
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import Clock, ClockKind, MonotonicSource

#: QEMU's properties of the object: one for each limit, and a table for all.
_ONE_BY_ONE: Final = "x-"
_TOGETHER: Final = "limits"


class ThrottleGroups:
    """Groups are added and removed in the graph's home, and looked up from any thread."""

    def __init__(self) -> None:
        #: Of groups that are added later. A machine that is driven step by step has another one.
        self.clock = Clock(ClockKind.REALTIME, MonotonicSource())
        self._groups: dict[str, ThrottleGroup] = {}
        #: Names of groups that are there as long as they have members.
        self._shared: set[str] = set()

    def add(self, name: str, config: ThrottleConfig, where: str) -> ThrottleGroup:
        """A new group. ConfigError: the name is taken. ``config`` has been checked."""
        if name in self:
            raise ConfigError(f"{where}.id", "A group with this name already exists")
        self._shared.discard(name)
        group = self._groups[name] = ThrottleGroup(name, config, self.clock)
        return group

    def remove(self, name: str) -> None:
        """Forget a group. KeyError: there is none; BlockError (EBUSY): it has members."""
        if self._groups[name].members:
            raise BlockError(name, errno.EBUSY, "throttle group with members")
        del self._groups[name]
        self._shared.discard(name)

    def find(self, name: str, where: str) -> ThrottleGroup:
        """The group called ``name``. ConfigError: there is none."""
        if name not in self:
            raise ConfigError(where, f"Throttle group '{name}' does not exist")
        return self._groups[name]

    def anonymous(self, config: ThrottleConfig) -> ThrottleGroup:
        """A group of its own for one node."""
        return ThrottleGroup("", config, self.clock)

    def shared(self, name: str) -> ThrottleGroup:
        """The group called ``name``, made when there is none, for who joins it now. QEMU: throttle_group_incref."""
        if name not in self:
            self._shared.add(name)
            self._groups[name] = ThrottleGroup(name, ThrottleConfig(), self.clock)
        return self._groups[name]

    def __contains__(self, name: str) -> bool:
        return name in self._groups and self._is_there(self._groups[name])

    def __iter__(self) -> Iterator[ThrottleGroup]:
        return iter([group for group in self._groups.values() if self._is_there(group)])

    def _is_there(self, group: ThrottleGroup) -> bool:
        return group.name not in self._shared or bool(group.members)


def limits_of_object(properties: Mapping[str, object], where: str) -> ThrottleConfig:
    """Of ``--object throttle-group,id=...``: ``limits.iops-total=...``, flat or nested, or ``x-iops-total=...``.

    ``where`` is what is at fault in messages. ConfigError, in QEMU's words.
    """
    limits: dict[str, object] = {}
    for key, value in properties.items():
        name = key.removeprefix(_ONE_BY_ONE)
        if key == _TOGETHER and isinstance(value, Mapping):
            limits |= value
        elif key.startswith(f"{_TOGETHER}."):
            limits[key.removeprefix(f"{_TOGETHER}.")] = value
        elif name == key:
            raise ConfigError(f"{where}.{key}", f"Parameter '{key}' is unexpected")
        elif isinstance(value, int) and value < 0:
            raise ConfigError(f"{where}.{key}", "Property values cannot be negative")
        else:
            limits.setdefault(name, value)
    known = {field.key for field in ThrottleLimits.fields.values()}
    for name in limits:
        if name not in known:
            raise ConfigError(f"{where}.limits.{name}", f"Parameter 'limits.{name}' is unexpected")
    return ThrottleLimits.parse(limits, where).config(where)
