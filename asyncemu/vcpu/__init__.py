# SPDX-License-Identifier: GPL-2.0-or-later
"""vCPUs: a thread each, a mailbox, an exact kick, and the accelerators they run on."""

from asyncemu.vcpu.cpu import Exit, GuestCpu, GuestFault
from asyncemu.vcpu.vcpu import VCpu

__all__ = ["Exit", "GuestCpu", "GuestFault", "VCpu"]
