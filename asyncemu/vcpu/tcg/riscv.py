# SPDX-License-Identifier: GPL-2.0-or-later
"""RiscvCpu: one riscv64 hart on Unicorn.

Two ways to begin: in S-mode with the supervisor binary interface served by us (``sbi``), or in M-mode with firmware in
guest memory. Either way this file enters and leaves the guest and keeps the interrupt lines; traps.py delivers what the
translator hands up.

What is whose. The registers belong to the vCPU's thread. Lines (``set_line``) come from any thread under a lock. Code
that devices have overwritten (``_stale_code``) comes from any thread and is taken before each entry.

How an interrupt gets in. SSIP, STIP and SEIP are bits of MIP, which the translator delivers by itself once they are set
there; MIP is written before each entry, and at once when a line changes inside a callback on this thread. MSIP, MTIP and
MEIP can't be written there: traps.py builds the M-mode trap.
Sources: RISC-V privileged architecture 1.12; ../shared facts on Unicorn in docs/decisions.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import unicorn
from unicorn import riscv_const, unicorn_const

from asyncemu.loop import Clock, any_thread
from asyncemu.memory import AddressSpace, MmioRegion, RamRegion
from asyncemu.vcpu.cpu import Exit, GuestFault
from asyncemu.vcpu.sbi import Sbi
from asyncemu.vcpu.tcg import native
from asyncemu.vcpu.tcg.exact_stop import (
    SLICE_INSTRUCTIONS,
    StopMethod,
    best_method,
    engine_handle,
    switch_exit_checks_off,
)
from asyncemu.vcpu.tcg.traps import Traps
from asyncemu.vcpu.tcg.unicorn_library import Registers, emu_start, emu_stop, hook_add, read_instruction

#: `time` counts at 10 MHz, as on QEMU's virt board: ns a tick.
NS_PER_TICK: Final = 100

# Bits of MIP and MIE: RISC-V privileged, "Machine Interrupt Registers".
SSIP: Final = 1 << 1
MSIP: Final = 1 << 3
STIP: Final = 1 << 5
MTIP: Final = 1 << 7
SEIP: Final = 1 << 9
MEIP: Final = 1 << 11
MACHINE_LINES: Final = MSIP | MTIP | MEIP

#: Guests switch their timer off by setting it to the end of time (all ones) or near it: ticks.
NEVER: Final = 1 << 63

WFI: Final = 0x10500073

SUPERVISOR: Final = 1
MACHINE: Final = 3

#: Stale code is forgotten page by page up to here; beyond, everything is (cheaper, and a bound). Ranges.
_MAX_STALE_RANGES: Final = 64


class RiscvCpu:
    """See the module's head. Implements GuestCpu."""

    on_line_raised: Callable[[], None]
    on_deadline: Callable[[int], None]

    def __init__(self, memory: AddressSpace, clock: Clock, hart_id: int = 0, sbi: Sbi | None = None) -> None:
        self.memory = memory
        self.clock = clock
        self.hart_id = hart_id
        self.sbi = sbi
        self.on_line_raised = _nobody
        self.on_deadline = _nobody_at
        #: Where execution begins; None: there is nothing to run, and the hart waits.
        self.entry: int | None = None
        self.arguments: dict[int, int] = {}
        self.method = best_method()
        self._lines_lock = threading.Lock()
        self._lines = 0
        # (deadline in ticks, line): the line is up from that tick on.
        self._timer: tuple[int, int] | None = None
        self._stale_code: deque[tuple[int, int]] = deque()
        self._thread = 0
        memory.on_write(self._memory_written)
        self._make_engine()

    def set_entry(self, pc: int, arguments: dict[int, int]) -> None:
        """Where execution begins after the ``reset`` that follows, and register number → value there (10 is a0)."""
        self.entry = pc
        self.arguments = arguments

    # ---- GuestCpu

    def execute(self) -> Exit:
        if self.entry is None:
            return Exit.HALTED
        self._thread = threading.get_ident()
        self._forget_stale_code()
        self._update_lines()
        if self.traps.look_again:
            # A machine interrupt waits for the guest to enable it, which nothing tells us of: look again soon.
            self.on_deadline(self.clock.now() + 1_000_000)
        count = 0
        if self.native_state is not None:
            self.native_state.stop = 0
        if self.method is StopMethod.SLICES:
            count = SLICE_INSTRUCTIONS
        pc = self._pc.read()[0]
        self._executing = True
        error = emu_start(self.handle, pc, 0, 0, count)
        self._executing = False
        if self._callback_error is not None:
            failure, self._callback_error = self._callback_error, None
            raise failure
        if error:
            return self.traps.engine_error(error)
        if self.stopped:
            self.stopped = False
            return Exit.STOPPED
        if count and not self._at_wfi():
            return Exit.STOPPED
        return Exit.HALTED

    @any_thread
    def interrupt(self) -> None:
        self.stopped = True
        if self.native_state is not None:
            self.native_state.stop = 1
        if self.method is StopMethod.EXIT_CHECKS_OFF:
            emu_stop(self.handle)

    def wake_time(self) -> int | None:
        if self.entry is None:
            return None
        # One look at the clock for both questions: between two, the deadline could pass unseen.
        now = self.time()
        lines = self._sampled_lines(now)
        _, pending, enabled = self.read_interrupt_csrs()
        if (lines | pending) & enabled:
            return 0
        timer = self._timer
        return timer[0] * NS_PER_TICK if timer is not None and now < timer[0] else None

    def deadline(self) -> int | None:
        timer = self._timer
        return timer[0] * NS_PER_TICK if timer is not None and self.time() < timer[0] else None

    def clock_changed(self) -> None:
        if self.native_state is not None:
            self.native_state.clock_offset = self.clock.offset()

    def reset(self) -> None:
        """A new engine: every register, CSR, TLB entry and translation is as at power-on."""
        with self._lines_lock:
            self._lines = 0
            self._timer = None
        self._stale_code.clear()
        self._make_engine()

    def statistics(self) -> dict[str, int]:
        counters = dict(self.traps.counters)
        if self.native_state is not None:
            counters["rdtime"] = counters.get("rdtime", 0) + self.native_state.rdtime_count
        return counters

    # ---- lines and timer

    @any_thread
    def set_line(self, line: int, level: bool) -> None:
        """Raise or lower one of the interrupt lines (a bit of MIP)."""
        with self._lines_lock:
            before = self._lines
            self._lines = before | line if level else before & ~line
            changed = self._lines != before
        if not changed:
            return
        if threading.get_ident() == self._thread and self._executing:
            self._update_lines_in_callback()
        elif level:
            self.on_line_raised()

    def set_timer(self, ticks: int, line: int) -> None:
        """Raise ``line`` (STIP or MTIP) once `time` reaches ``ticks``; lower it until then. vCPU thread."""
        self._timer = (ticks, line)
        # Decided before the lines are sampled: a deadline that passes in between is armed as well, which does no harm.
        ahead = self.time() < ticks
        if self._executing:
            self._update_lines_in_callback()
        if ahead and ticks < NEVER:
            self.on_deadline(ticks * NS_PER_TICK)

    def time(self) -> int:
        """The guest's `time` CSR: ticks of NS_PER_TICK."""
        return self.clock.now() // NS_PER_TICK

    def _sampled_lines(self, now: int) -> int:
        timer = self._timer
        lines = self._lines
        if timer is not None and now >= timer[0]:
            lines |= timer[1]
        return lines

    def _update_lines(self) -> None:
        """Bring MIP up to date, and take a machine interrupt if one is due. Outside the guest."""
        lines = self._sampled_lines(self.time())
        self._write_pending(lines)
        self.traps.take_machine_interrupt(lines & MACHINE_LINES)

    def _update_lines_in_callback(self) -> None:
        lines = self._sampled_lines(self.time())
        if lines & MACHINE_LINES or self.sbi is None:
            # A machine trap is built outside the guest: leave it at the end of this block.
            self.stop_in_callback()
        self._write_pending(lines)

    def _write_pending(self, lines: int) -> None:
        """The lines that MIP can hold, into MIP. The guest's own SSIP (and, under firmware, STIP) bits stay."""
        mask = SEIP | STIP if self.sbi is not None else SEIP
        wanted = lines & mask
        if wanted == self._written_lines:
            return
        self._written_lines = wanted
        privilege = self._privilege.read()[0]
        self.set_privilege(MACHINE)
        pending = self._pending.read()
        pending[0] = (pending[0] & ~mask) | wanted
        self._pending.write()
        self.set_privilege(privilege)

    def raise_software_interrupt(self) -> None:
        """Set SSIP, which the guest clears itself. vCPU thread."""
        privilege = self._privilege.read()[0]
        self.set_privilege(MACHINE)
        self._pending.read()[0] |= SSIP
        self._pending.write()
        self.set_privilege(privilege)

    def read_interrupt_csrs(self) -> tuple[int, int, int]:
        """Privilege, MIP and MIE now."""
        privilege = self._privilege.read()[0]
        self.set_privilege(MACHINE)
        _, pending, enabled = self._machine.read()
        self.set_privilege(privilege)
        return privilege, pending, enabled

    def set_privilege(self, privilege: int) -> None:
        """Change PRIV, which decides what CSR accesses are allowed; put it back before the guest goes on."""
        self._privilege.values[0] = privilege
        self._privilege.write()

    def stop_in_callback(self) -> None:
        """Leave the guest at the end of the block that this callback was called from."""
        self.stopped = True
        if self.native_state is not None:
            self.native_state.stop = 1
        if self.method is StopMethod.EXIT_CHECKS_OFF:
            emu_stop(self.handle)

    # ---- code that devices overwrite

    def _memory_written(self, address: int, length: int) -> None:
        self._stale_code.append((address, length))
        if threading.get_ident() != self._thread or not self._executing:
            self.on_line_raised()
        else:
            self.stop_in_callback()

    def _forget_stale_code(self) -> None:
        """Translations of what devices have written are wrong now: Unicorn notices only the guest's own writes."""
        if not self._stale_code:
            return
        privilege = self._privilege.read()[0]
        # In M-mode virtual addresses are physical ones, which is what we have.
        self.set_privilege(MACHINE)
        if len(self._stale_code) > _MAX_STALE_RANGES:
            self._stale_code.clear()
            self.engine.ctl_flush_tb()
        while self._stale_code:
            address, length = self._stale_code.popleft()
            if length:
                self.engine.ctl_remove_cache(address, address + length)
        self.set_privilege(privilege)

    # ---- the engine

    def _make_engine(self) -> None:
        engine = unicorn.Uc(unicorn_const.UC_ARCH_RISCV, unicorn_const.UC_MODE_RISCV64)
        engine.ctl_set_cpu_model(riscv_const.UC_CPU_RISCV64_SIFIVE_U54)
        self.engine: Any = engine
        self.handle = engine_handle(engine)
        for region in self.memory.regions:
            if isinstance(region, RamRegion):
                engine.mem_map_ptr(region.base, region.size, unicorn_const.UC_PROT_ALL, region.ram.address)
            else:
                self._map_registers(region)
        if self.method is StopMethod.EXIT_CHECKS_OFF and not switch_exit_checks_off(self.handle):
            raise RuntimeError("Unicorn's private struct is not as the self-test found it")
        engine.ctl_exits_enabled(True)
        register = riscv_const
        self._pc = Registers(self.handle, register.UC_RISCV_REG_PC)
        self._privilege = Registers(self.handle, register.UC_RISCV_REG_PRIV)
        self._pending = Registers(self.handle, register.UC_RISCV_REG_MIP)
        self._machine = Registers(
            self.handle, register.UC_RISCV_REG_PRIV, register.UC_RISCV_REG_MIP, register.UC_RISCV_REG_MIE
        )
        self.stopped = False
        self._executing = False
        self._written_lines = 0
        self._callback_error: BaseException | None = None
        self.native_state: native.NativeState | None = None
        self.traps = Traps(self)
        self._add_hooks()
        self._power_on()

    def _map_registers(self, region: MmioRegion) -> None:
        handler = region.handler

        def read(_: Any, offset: int, size: int, __: Any) -> int:
            try:
                return handler.mmio_read(offset, size)
            except BaseException as error:
                self.callback_failed(error)
                return 0

        def write(_: Any, offset: int, size: int, value: int, __: Any) -> None:
            try:
                handler.mmio_write(offset, size, value)
            except BaseException as error:
                self.callback_failed(error)

        # Unicorn maps whole pages; what is beyond the region in its last page reads as the handler says.
        size = -(-region.size // 4096) * 4096
        self.engine.mmio_map(region.base, size, read, None, write, None)

    def callback_failed(self, error: BaseException) -> None:
        """An exception can't cross the translator's C code: keep it for ``execute`` and leave the guest."""
        self._callback_error = error
        self.stop_in_callback()

    def _add_hooks(self) -> None:
        self._interrupt_callback = native.InterruptCallback(self._on_interrupt)
        module = native.load()
        if module is not None:
            self.native_state = native.make_state(
                self._interrupt_callback, NS_PER_TICK, riscv_const.UC_RISCV_REG_PC, riscv_const.UC_RISCV_REG_X0
            )
            import ctypes

            state = ctypes.addressof(self.native_state)
            if self.clock.source.follows_kernel:
                hook_add(self.handle, unicorn_const.UC_HOOK_INTR, module.on_interrupt, state)
            else:
                self._add_python_interrupt_hook()
            if self.method is StopMethod.BLOCK_HOOK:
                hook_add(self.handle, unicorn_const.UC_HOOK_BLOCK, module.on_block, state)
        else:
            self._add_python_interrupt_hook()
        self.engine.hook_add(unicorn_const.UC_HOOK_INSN_INVALID, self._on_invalid_instruction)
        self.clock_changed()

    def _add_python_interrupt_hook(self) -> None:
        import ctypes

        address = ctypes.cast(self._interrupt_callback, ctypes.c_void_p).value
        assert address is not None
        hook_add(self.handle, unicorn_const.UC_HOOK_INTR, address, 0)

    def _on_interrupt(self, _: int, number: int, __: int) -> None:
        try:
            self.traps.synchronous(number)
        except BaseException as error:
            self.callback_failed(error)

    def _on_invalid_instruction(self, _: Any, __: Any) -> bool:
        try:
            self.traps.breakpoint()
        except BaseException as error:
            self.callback_failed(error)
        return True

    def _power_on(self) -> None:
        registers = [riscv_const.UC_RISCV_REG_X0 + number for number in self.arguments]
        if self.sbi is None:
            privileged = {riscv_const.UC_RISCV_REG_PRIV: MACHINE}
        else:
            # What firmware leaves behind: supervisor interrupts and all traps delegated, counters readable.
            privileged = {
                riscv_const.UC_RISCV_REG_PRIV: MACHINE,
                riscv_const.UC_RISCV_REG_MIDELEG: SSIP | STIP | SEIP,
                riscv_const.UC_RISCV_REG_MCOUNTEREN: 7,
            }
        group = Registers(self.handle, *privileged, *registers)
        for index, number in enumerate((*privileged.values(), *self.arguments.values())):
            group.values[index] = number
        group.write()
        if self.sbi is not None:
            self.set_privilege(SUPERVISOR)
        self.engine.reg_write(riscv_const.UC_RISCV_REG_PC, self.entry or 0)

    def _at_wfi(self) -> bool:
        """Is the instruction before PC a `wfi`? Only asked when slices hide why the guest came back."""
        return read_instruction(self.handle, self._pc.read()[0] - 4) == WFI


def _nobody() -> None:
    """No vCPU yet: nobody to kick."""


def _nobody_at(deadline: int) -> None:
    """No vCPU yet: nobody to wake."""


__all__ = ["MACHINE", "MEIP", "MSIP", "MTIP", "NS_PER_TICK", "SEIP", "STIP", "SUPERVISOR", "GuestFault", "RiscvCpu"]
