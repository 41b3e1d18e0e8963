# SPDX-License-Identifier: GPL-2.0-or-later
"""VmConfig: a checked vm.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncemu.block.throttle.config import ThrottleConfig
from asyncemu.config.sharing import monitor_chardevs
from asyncemu.loop import AioContext, Clocks, IOThreadParameters
from asyncemu.machine import Machine, MachineOptions
from asyncemu.plugin_options import Configured

if TYPE_CHECKING:
    from asyncemu.monitor.options import MonitorEntry


@dataclass(frozen=True, slots=True)
class VmConfig:
    """What the tables of vm.toml say, each checked by the class that it names."""

    machine: MachineOptions
    #: By id.
    iothreads: Mapping[str, IOThreadParameters]
    #: Their limits, by id.
    throttle_groups: Mapping[str, ThrottleConfig]
    chardevs: Sequence[Configured]
    netdevs: Sequence[Configured]
    netfilters: Sequence[Configured]
    blockdevs: Sequence[Configured]
    #: ``blockdevs`` as they were written: the block graph makes nodes of nested tables when it opens them.
    blockdev_tables: Sequence[Mapping[str, Any]]
    devices: Sequence[Configured]
    #: What relative paths are relative to.
    directory: Path
    #: Of [qmp] and [[monitor]].
    monitors: Sequence[MonitorEntry] = ()

    def make_machine(self, context: AioContext, clocks: Clocks | None = None) -> Machine:
        """A machine of these parts, not built yet."""
        return Machine(
            context,
            self.machine,
            iothreads=self.iothreads,
            throttle_groups=self.throttle_groups,
            chardevs=self.chardevs,
            monitors=monitor_chardevs(self.monitors, self.chardevs),
            netdevs=self.netdevs,
            netfilters=self.netfilters,
            blockdevs=self.blockdev_tables,
            devices=self.devices,
            directory=self.directory,
            clocks=clocks,
        )
