# SPDX-License-Identifier: GPL-2.0-or-later
"""Engine: one Unicorn instance for a riscv64 hart: memory mapped, hooks in place, exact stops.

The vCPU's thread owns it, but for ``stop``. A reset makes a new one: every register, CSR, TLB entry and translation is
then as at power-on.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, Final

import unicorn
from unicorn import riscv_const, unicorn_const

from asyncemu.memory import AddressSpace, MmioRegion, RamRegion
from asyncemu.tracing import tracer
from asyncemu.vcpu.tcg import native
from asyncemu.vcpu.tcg.code_pages import CodePages
from asyncemu.vcpu.tcg.exact_stop import SLICE_INSTRUCTIONS, StopMethod, engine_handle, switch_exit_checks_off
from asyncemu.vcpu.tcg.unicorn_library import emu_start, emu_stop, hook_add, remove_translations

#: Unicorn maps whole pages.
_PAGE: Final = 4096


class Engine:
    """``on_exception(number)`` is called on the vCPU's thread inside the guest; ``native_time`` says that `rdtime` may
    read the kernel's clock in native code."""

    def __init__(
        self,
        memory: AddressSpace,
        method: StopMethod,
        ns_per_tick: int,
        on_exception: Callable[[int], None],
        *,
        native_time: bool,
    ) -> None:
        self.method = method
        self._on_exception = on_exception
        #: Raised in a callback, where it can't cross the translator's C code; the caller of ``run`` raises it again.
        self.callback_error: BaseException | None = None
        #: A stop was asked for since ``run`` was entered or left last.
        self.stop_requested = False
        self.running = False
        self.uc: Any = unicorn.Uc(unicorn_const.UC_ARCH_RISCV, unicorn_const.UC_MODE_RISCV64)
        self.uc.ctl_set_cpu_model(riscv_const.UC_CPU_RISCV64_SIFIVE_U54)
        self.handle = engine_handle(self.uc)
        for region in memory.regions:
            if isinstance(region, RamRegion):
                self.uc.mem_map_ptr(region.base, region.size, unicorn_const.UC_PROT_ALL, region.ram.address)
            else:
                self._map_registers(region)
        if method is StopMethod.EXIT_CHECKS_OFF and not switch_exit_checks_off(self.handle):
            raise RuntimeError("Unicorn's private struct is not as the self-test found it")
        self.uc.ctl_exits_enabled(True)
        self.native_state = self._add_hooks(ns_per_tick, native_time)
        ram = [region for region in memory.regions if isinstance(region, RamRegion)]
        ram_end = max((region.base + region.size for region in ram), default=1)
        self._code_pages = CodePages(self.handle, min((region.base for region in ram), default=0), ram_end, self.stop)
        self._entered = False

    # ---- running

    def run(self, pc: int) -> int:
        """Run from ``pc`` until a stop, a WFI, an error or the end of a slice; Unicorn's error number."""
        if self.native_state is not None:
            self.native_state.stop = 0
        if self._code_pages.full:
            self.forget_all_code()
        if not self._entered:
            # Of the very first block Unicorn says nothing.
            self._entered = True
            self._code_pages.add(pc)
        count = SLICE_INSTRUCTIONS if self.method is StopMethod.SLICES else 0
        self.running = True
        error: int = emu_start(self.handle, pc, 0, 0, count)
        self.running = False
        return error

    def stop(self) -> None:
        """End ``run`` at a block's start; from inside a callback, at the end of its block. Any thread.

        Lost when ``run`` has not entered the guest yet.
        """
        self.stop_requested = True
        if self.native_state is not None:
            self.native_state.stop = 1
        if self.method is StopMethod.EXIT_CHECKS_OFF:
            emu_stop(self.handle)

    def forget_code(self, start: int, end: int) -> None:
        """Forget translations of [start, end), virtual addresses of the privilege that the hart is at."""
        remove_translations(self.handle, start, end)

    def forget_all_code(self) -> None:
        """Forget every translation."""
        self.uc.ctl_flush_tb()
        self._code_pages.forget()

    # ---- what the guest runs into

    def _map_registers(self, region: MmioRegion) -> None:
        handler = region.handler

        def read(_: Any, offset: int, size: int, __: Any) -> int:
            start = monotonic_ns() if tracer.on else 0
            try:
                return handler.mmio_read(offset, size)
            except BaseException as error:
                self._callback_failed(error)
                return 0
            finally:
                if start:
                    tracer.span("mmio", f"read {region.name}", start)

        def write(_: Any, offset: int, size: int, value: int, __: Any) -> None:
            start = monotonic_ns() if tracer.on else 0
            try:
                handler.mmio_write(offset, size, value)
            except BaseException as error:
                self._callback_failed(error)
            if start:
                tracer.span("mmio", f"write {region.name}", start)

        # What is beyond the region in its last page is the handler's too.
        size = -(-region.size // _PAGE) * _PAGE
        self.uc.mmio_map(region.base, size, read, None, write, None)

    def _add_hooks(self, ns_per_tick: int, native_time: bool) -> native.NativeState | None:
        # Kept as an attribute: the hook holds only its address.
        self._exception_callback = native.InterruptCallback(self._exception)
        python_callback = ctypes.cast(self._exception_callback, ctypes.c_void_p).value
        assert python_callback is not None
        module = native.load()
        state = None
        if module is not None:
            state = native.make_state(
                self._exception_callback, ns_per_tick, riscv_const.UC_RISCV_REG_PC, riscv_const.UC_RISCV_REG_X0
            )
        if state is not None and native_time:
            hook_add(self.handle, unicorn_const.UC_HOOK_INTR, module.on_interrupt, ctypes.addressof(state))
        else:
            hook_add(self.handle, unicorn_const.UC_HOOK_INTR, python_callback, 0)
        if state is not None and self.method is StopMethod.BLOCK_HOOK:
            hook_add(self.handle, unicorn_const.UC_HOOK_BLOCK, module.on_block, ctypes.addressof(state))
        # No hook on all of memory: with one, every load and store of the guest leaves the fast path.
        return state

    def _exception(self, _: int, number: int, __: int) -> None:
        try:
            self._on_exception(number)
        except BaseException as error:
            self._callback_failed(error)

    def _callback_failed(self, error: BaseException) -> None:
        self.callback_error = error
        self.stop()
