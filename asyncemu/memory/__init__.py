# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest memory: RAM in a memfd, the address space over it, and checked views for DMA.

All but Buffers is imported when it is first asked for: a disk image tool has no guest, and is to start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.memory.address_space import AddressSpace, MmioHandler, MmioRegion, RamRegion
    from asyncemu.memory.barrier import full_barrier
    from asyncemu.memory.ram import GuestRam

__all__ = ["AddressSpace", "Buffers", "GuestRam", "MmioHandler", "MmioRegion", "RamRegion", "full_barrier"]

_MODULES: Final = {
    "AddressSpace": "address_space",
    "GuestRam": "ram",
    "MmioHandler": "address_space",
    "MmioRegion": "address_space",
    "RamRegion": "address_space",
    "full_barrier": "barrier",
}


def __getattr__(name: str) -> object:
    """PEP 562."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
