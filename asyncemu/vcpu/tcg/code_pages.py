# SPDX-License-Identifier: GPL-2.0-or-later
"""CodePages: the pages of RAM that code was translated from, kept so that a guest's stores to them are noticed.

Unicorn drops the translations that a store overwrites, but it sees only stores that take its slow path, and the first
store to a page by a mapping that is not executable puts the rest of that page on the fast one, whatever was translated
from there. So a kernel that frees one module's code, and loads the next one's to the same place, runs blocks of the
old one. Where a hook on memory is, the slow path stays. Here such a hook, which never has anything to do, is laid over
the pages that code comes from, and when a page is new the TLB is flushed, for it may let stores to that page pass
already.

For each new translation Unicorn also looks through the whole TLB for entries of the same virtual page, to put them on
the slow path. With the above that is never needed, and it is left out where a hook is on the *virtual* address: two
more hooks lie over all addresses where no RAM is, as nearly all virtual addresses of kernels and programs are. That
saves what the rest of this costs.

New translations are told by UC_HOOK_EDGE_GENERATED. Adjacent pages share a hook, and so do the nearest ones when there
are many: Unicorn goes through all hooks at the first store to each page after a TLB flush.
Source: ``notdirty_write``, ``tb_gen_code`` and ``uc_mem_hook_installed`` of Unicorn 2.1.4.
"""

from __future__ import annotations

import bisect
import ctypes
from collections.abc import Callable
from typing import Any, Final

from unicorn import unicorn_const
from unicorn.unicorn_const import UC_PROT_EXEC

from asyncemu.vcpu.tcg.unicorn_library import flush_tlb, hook_add, hook_remove, vmem_translate

_PAGE_BITS: Final = 12
#: Hooks at most. Stores to pages between two that share one are slow; but with 64 hooks a boot took
#: 10 % longer than with 16.
MAX_HOOKS: Final = 16
#: Removed hooks stay in Unicorn's lists, and cost as much as the others, until the guest is left.
MAX_REMOVED: Final = 16
#: From so many pages on (256 MiB), many of which may hold data by now, it is better to begin anew.
MAX_PAGES: Final = 65536


class _Block(ctypes.Structure):
    """uc_tb of unicorn.h."""

    _fields_ = (("pc", ctypes.c_uint64), ("instructions", ctypes.c_uint16), ("size", ctypes.c_uint16))


#: void (*)(uc_engine *, uc_tb *current, uc_tb *previous, void *user_data)
_BlockCallback: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
#: bool (*)(uc_engine *, int type, uint64_t address, int size, int64_t value, void *user_data)
_MemoryCallback: Final = ctypes.CFUNCTYPE(
    ctypes.c_bool,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_int64,
    ctypes.c_void_p,
)


def _fetch_forbidden(*_: object) -> bool:
    # A fetch from where registers are. It is not allowed here either: the error is the same as without a hook.
    return False


_NOTHING_TO_DO: Final = _MemoryCallback(_fetch_forbidden)


class CodePages:
    """Of the engine at ``handle``. RAM is somewhere in [``ram_start``, ``ram_end``). vCPU thread.

    ``leave_guest`` is called inside the guest when it has to be left.
    """

    def __init__(self, handle: int, ram_start: int, ram_end: int, leave_guest: Callable[[], None]) -> None:
        self._handle = handle
        self._leave_guest = leave_guest
        self._pages: set[int] = set()
        #: One hook a range: its first and last page, both included, and itself. In order, and never adjacent.
        self._first: list[int] = []
        self._last: list[int] = []
        self._hooks: list[int] = []
        self._removed = 0
        self._physical = ctypes.c_uint64()
        self._physical_pointer = ctypes.addressof(self._physical)
        # Kept as an attribute: the hook holds only its address.
        self._callback = _BlockCallback(self._new_block)
        hook_add(handle, unicorn_const.UC_HOOK_EDGE_GENERATED, _address(self._callback), 0)
        if ram_start:
            self._hook(0, ram_start - 1)
        self._hook(ram_end, (1 << 64) - 1)

    @property
    def full(self) -> bool:
        """It is time to forget all translations, and then these pages."""
        return len(self._pages) > MAX_PAGES

    def forget(self) -> None:
        """All translations have been forgotten. Outside the guest."""
        for hook in self._hooks:
            hook_remove(self._handle, hook)
        self._pages.clear()
        self._first, self._last, self._hooks = [], [], []

    def add(self, address: int) -> None:
        """Code comes from the page of this virtual address. Nothing is done when none can be fetched from there."""
        if vmem_translate(self._handle, address, UC_PROT_EXEC, self._physical_pointer):
            return
        page = self._physical.value >> _PAGE_BITS
        if page not in self._pages:
            self._add_page(page)

    def _add_page(self, page: int) -> None:
        self._pages.add(page)
        index = bisect.bisect_right(self._first, page)
        if index and page <= self._last[index - 1]:
            return
        self._cover(page, index)
        flush_tlb(self._handle)
        if self._removed > MAX_REMOVED or self.full:
            self._removed = 0
            self._leave_guest()

    def _new_block(self, _: int, address: int, __: int, ___: int) -> None:
        block = _Block.from_address(address)
        first: int = block.pc
        self.add(first)
        last = first + max(block.size, 1) - 1
        if last >> _PAGE_BITS != first >> _PAGE_BITS:
            self.add(last)

    def _cover(self, page: int, index: int) -> None:
        """Lay a hook over ``page``, which is in no range; ``index`` is that of the next one behind it."""
        joins_previous = index > 0 and self._last[index - 1] == page - 1
        joins_next = index < len(self._first) and self._first[index] == page + 1
        start, end = index - joins_previous, index + joins_next
        self._replace(start, end, min([page, *self._first[start:end]]), max([page, *self._last[start:end]]))
        if len(self._hooks) > MAX_HOOKS:
            gaps = [first - last for first, last in zip(self._first[1:], self._last, strict=False)]
            nearest = gaps.index(min(gaps))
            self._replace(nearest, nearest + 2, self._first[nearest], self._last[nearest + 1])

    def _replace(self, start: int, end: int, first: int, last: int) -> None:
        """One range [first, last] instead of those at the indices [start, end)."""
        for hook in self._hooks[start:end]:
            hook_remove(self._handle, hook)
        self._removed += end - start
        self._first[start:end], self._last[start:end] = [first], [last]
        self._hooks[start:end] = [self._hook(first << _PAGE_BITS, ((last + 1) << _PAGE_BITS) - 1)]

    def _hook(self, first: int, last: int) -> int:
        """A hook that never has anything to do, over the addresses [first, last]."""
        kind = unicorn_const.UC_HOOK_MEM_FETCH_PROT
        return hook_add(self._handle, kind, _address(_NOTHING_TO_DO), 0, first, last)


def _address(callback: Any) -> int:
    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert address is not None
    return address
