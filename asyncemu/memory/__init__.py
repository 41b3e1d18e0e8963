# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest memory: RAM in a memfd, the address space over it, and checked views for DMA."""

from asyncemu.memory.address_space import AddressSpace, MmioHandler, MmioRegion, RamRegion
from asyncemu.memory.barrier import full_barrier
from asyncemu.memory.buffers import Buffers
from asyncemu.memory.ram import GuestRam

__all__ = ["AddressSpace", "Buffers", "GuestRam", "MmioHandler", "MmioRegion", "RamRegion", "full_barrier"]
