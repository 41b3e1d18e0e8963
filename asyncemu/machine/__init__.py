# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines: boards, boot, life cycle."""

from asyncemu.machine.machine import ExitReason, Machine, RunState
from asyncemu.machine.options import MachineOptions

__all__ = ["ExitReason", "Machine", "MachineOptions", "RunState"]
