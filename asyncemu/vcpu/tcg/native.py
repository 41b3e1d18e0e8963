# SPDX-License-Identifier: GPL-2.0-or-later
"""The Python side of _native.c: its state as a ctypes struct, and whether it is there at all.

``ASYNCEMU_NATIVE=0`` in the environment leaves it out, which the tests use to hold the pure Python path to the same.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from typing import Any, Final

from asyncemu.vcpu.tcg import unicorn_library

#: UC_HOOK_INTR's callback: void (*)(uc_engine *, uint32_t number, void *user_data)
InterruptCallback: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)


class NativeState(ctypes.Structure):
    """``struct state`` of _native.c, field by field."""

    _fields_ = (
        ("clock_offset", ctypes.c_int64),
        ("ns_per_tick", ctypes.c_int64),
        ("rdtime_count", ctypes.c_uint64),
        ("python", InterruptCallback),
        ("vmem_read", ctypes.c_void_p),
        ("reg_read", ctypes.c_void_p),
        ("reg_write", ctypes.c_void_p),
        ("emu_stop", ctypes.c_void_p),
        ("reg_pc", ctypes.c_int32),
        ("reg_x0", ctypes.c_int32),
        ("stop", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
    )


def load() -> Any:
    """The module ``_native``, or None: not built, or switched off."""
    if os.environ.get("ASYNCEMU_NATIVE", "1") == "0":
        return None
    try:
        module = importlib.import_module("asyncemu.vcpu.tcg._native")
    except ImportError:
        return None
    if module.state_size != ctypes.sizeof(NativeState):
        # An extension of another version of this package: better none than a wrong one.
        return None
    return module


def make_state(python: Any, ns_per_tick: int, reg_pc: int, reg_x0: int) -> NativeState:
    """The state of one vCPU, its function addresses filled in. The caller keeps it alive as long as the hooks are."""
    return NativeState(
        ns_per_tick=ns_per_tick,
        python=python,
        vmem_read=unicorn_library.address_of("uc_vmem_read"),
        reg_read=unicorn_library.address_of("uc_reg_read"),
        reg_write=unicorn_library.address_of("uc_reg_write"),
        emu_stop=unicorn_library.address_of("uc_emu_stop"),
        reg_pc=reg_pc,
        reg_x0=reg_x0,
    )
