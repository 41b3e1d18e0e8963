# SPDX-License-Identifier: GPL-2.0-or-later
"""Which chardevs can be shared between several front ends, and which ones the monitors are on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from asyncemu.machine.homes import MonitorChardev
from asyncemu.plugin_options import Configured

if TYPE_CHECKING:
    from asyncemu.monitor.options import MonitorEntry


def is_single(chardev: Configured) -> bool:
    """Is it for one front end only?"""
    mux = getattr(chardev.options, "mux", None)
    # The default of stdio; the others have none.
    return not mux and not (mux is None and chardev.plugin.name == "stdio" and os.isatty(0))


def monitor_chardevs(monitors: Sequence[MonitorEntry], chardevs: Iterable[Configured]) -> list[MonitorChardev]:
    """The chardevs of [qmp] and [[monitor]]. QMP gets a thread of its own for those that nobody else can be on."""
    shared = {chardev.identity for chardev in chardevs if not is_single(chardev)}
    return [
        MonitorChardev(
            entry.options.chardev,
            entry.where,
            apart=entry.options.mode == "control" and entry.options.chardev not in shared,
            own=entry.own_chardev,
        )
        for entry in monitors
    ]
