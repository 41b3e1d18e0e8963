# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn's C functions, called without its Python binding's overhead, and what is known of its private structs.

The binding takes 2 to 4 µs a register; with preallocated ctypes objects a batch of seven takes 1 µs. What is private
holds for exactly one release, which is why pyproject.toml pins it and why everything read out of a private struct here
is checked before it is believed.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import unicorn
import unicorn.unicorn_const
from unicorn.unicorn_const import UC_PROT_EXEC
from unicorn.unicorn_py3.unicorn import uclib

#: The release whose private structs are known.
KNOWN_VERSION: Final = "2.1.4"

# PyDLL keeps the GIL: right for calls that take less than giving it up and taking it back.
_quick = ctypes.PyDLL(uclib._name)
_releasing = ctypes.CDLL(uclib._name)


def _function(library: ctypes.CDLL, name: str, *argument_types: Any) -> Any:
    function = getattr(library, name)
    function.argtypes = argument_types
    function.restype = ctypes.c_int
    return function


_handle, _pointer, _u64, _size = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t

#: uc_emu_start(uc, begin, until, timeout, count): the guest runs without the GIL.
emu_start: Final = _function(_releasing, "uc_emu_start", _handle, _u64, _u64, _u64, _size)
#: uc_emu_stop(uc): any thread.
emu_stop: Final = _function(_quick, "uc_emu_stop", _handle)
#: uc_vmem_translate(uc, virtual address, prot, &physical address), through the guest's page tables.
vmem_translate: Final = _function(_quick, "uc_vmem_translate", _handle, _u64, ctypes.c_uint32, _pointer)
context_save: Final = _function(_quick, "uc_context_save", _handle, _pointer)
_ctl = _function(_quick, "uc_ctl", _handle, ctypes.c_uint32, _u64, _u64)
# UC_CTL_WRITE(UC_CTL_TB_REMOVE_CACHE, 2): two arguments, one bit for writing; unicorn.h.
_REMOVE_CACHE: Final = unicorn.unicorn_const.UC_CTL_TB_REMOVE_CACHE | 2 << 26 | 1 << 30
# UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0)
_FLUSH_TLB: Final = unicorn.unicorn_const.UC_CTL_TLB_FLUSH | 1 << 30
_vmem_read = _function(_quick, "uc_vmem_read", _handle, _u64, ctypes.c_uint32, _pointer, _size)
_hook_del = _function(_quick, "uc_hook_del", _handle, _size)
_reg_read_batch = _function(_quick, "uc_reg_read_batch", _handle, _pointer, _pointer, ctypes.c_int)
_reg_write_batch = _function(_quick, "uc_reg_write_batch", _handle, _pointer, _pointer, ctypes.c_int)


def address_of(name: str) -> int:
    """The address of a C function of Unicorn, for native code."""
    address = ctypes.cast(getattr(_releasing, name), ctypes.c_void_p).value
    assert address is not None
    return address


def remove_translations(handle: int, start: int, end: int) -> None:
    """Forget what was translated from the virtual addresses [start, end). uc_ctl(UC_CTL_TB_REMOVE_CACHE)."""
    _ctl(handle, _REMOVE_CACHE, start, end)


def flush_tlb(handle: int) -> None:
    """Forget which virtual pages are where. uc_ctl(UC_CTL_TLB_FLUSH)."""
    _ctl(handle, _FLUSH_TLB, 0, 0)


def hook_add(handle: int, kind: int, callback: int, user_data: int, first: int = 1, last: int = 0) -> int:
    """Add a hook whose callback is native code at the address ``callback``; returns what ``hook_remove`` takes.

    For the addresses [first, last], and for all of them when ``first`` is greater.
    """
    hook = ctypes.c_size_t()
    error = _releasing.uc_hook_add(
        ctypes.c_void_p(handle),
        ctypes.byref(hook),
        ctypes.c_int(kind),
        ctypes.c_void_p(callback),
        ctypes.c_void_p(user_data),
        ctypes.c_uint64(first),
        ctypes.c_uint64(last),
    )
    if error:
        raise unicorn.UcError(error)
    return hook.value


def hook_remove(handle: int, hook: int) -> None:
    """Remove a hook, also from within a callback."""
    _hook_del(handle, hook)


def read_instruction(handle: int, address: int) -> int | None:
    """The 32 bits at a virtual address, through the guest's page tables; None when they can't be fetched.

    Unicorn's Python binding has no name for this function.
    """
    code = ctypes.c_uint32()
    if _vmem_read(handle, address, UC_PROT_EXEC, ctypes.addressof(code), 4):
        return None
    return code.value


class Registers:
    """A fixed group of 64-bit registers, read or written in one call, in order.

    ``values`` is an array of unsigned 64-bit integers, one a register: fill it before ``write``, look at it after
    ``read``. CSR accesses obey the privilege that the guest is at, silently: put PRIV first.
    """

    __slots__ = ("_count", "_handle", "_keep", "_numbers", "_pointers", "values")

    def __init__(self, handle: int, *registers: int) -> None:
        count = len(registers)
        numbers = (ctypes.c_int * count)(*registers)
        self.values: Any = (ctypes.c_uint64 * count)()
        start = ctypes.addressof(self.values)
        pointers = (ctypes.c_void_p * count)(*range(start, start + 8 * count, 8))
        self._handle = handle
        self._count = count
        self._keep = (numbers, pointers)
        self._numbers = ctypes.addressof(numbers)
        self._pointers = ctypes.addressof(pointers)

    def read(self) -> Any:
        """Read all; returns ``values``."""
        _reg_read_batch(self._handle, self._numbers, self._pointers, self._count)
        return self.values

    def write(self) -> None:
        """Write all from ``values``."""
        _reg_write_batch(self._handle, self._numbers, self._pointers, self._count)
