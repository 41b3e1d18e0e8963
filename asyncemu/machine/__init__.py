# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines: boards, boot, life cycle."""

from asyncemu.machine.machine import Machine
from asyncemu.machine.options import MachineOptions
from asyncemu.machine.run_state import ExitReason, RunState

__all__ = ["ExitReason", "Machine", "MachineOptions", "RunState"]
