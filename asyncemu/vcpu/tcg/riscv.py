# SPDX-License-Identifier: GPL-2.0-or-later
"""RiscvCpu: one riscv64 hart on Unicorn.

Two ways to begin: in S-mode with the supervisor binary interface served by us (``sbi``), or in M-mode with firmware in
guest memory. This file enters and leaves the guest and keeps the interrupt lines; traps.py delivers what the translator
hands up; engine.py is the translator.

What is whose. The registers belong to the vCPU's thread. Lines (``set_line``) come from any thread under a lock, and so
does word of code that devices have overwritten, which is forgotten before the guest is entered again.

How an interrupt gets in. SSIP, STIP and SEIP are bits of MIP, which the translator delivers by itself once they are set
there; MIP is written before each entry, and at once when a line changes inside a callback on this thread. MSIP, MTIP
and MEIP can't be written there: traps.py builds the M-mode trap. Source: RISC-V privileged architecture 1.12.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from unicorn import riscv_const as reg

from asyncemu.loop import Clock, any_thread
from asyncemu.memory import AddressSpace
from asyncemu.vcpu.cpu import Exit
from asyncemu.vcpu.sbi import Sbi
from asyncemu.vcpu.tcg.engine import Engine
from asyncemu.vcpu.tcg.exact_stop import StopMethod, best_method
from asyncemu.vcpu.tcg.registers import read_registers
from asyncemu.vcpu.tcg.traps import Traps
from asyncemu.vcpu.tcg.unicorn_library import Registers, read_instruction

#: `time` counts at 10 MHz, as on QEMU's virt board: ns a tick.
NS_PER_TICK: Final = 100
#: Guests switch their timer off by setting it to the end of time (all ones) or near it: ticks.
NEVER: Final = 1 << 63

# Bits of MIP and MIE: RISC-V privileged, "Machine Interrupt Registers".
SSIP: Final = 1 << 1
MSIP: Final = 1 << 3
STIP: Final = 1 << 5
MTIP: Final = 1 << 7
SEIP: Final = 1 << 9
MEIP: Final = 1 << 11
MACHINE_LINES: Final = MSIP | MTIP | MEIP

SUPERVISOR: Final = 1
MACHINE: Final = 3
WFI: Final = 0x10500073

#: More pieces of stale code than this are forgotten all at once: it is cheaper, and a bound.
MAX_STALE_PIECES: Final = 64
#: How soon to look again for a machine interrupt that the guest has not enabled yet, ns.
LOOK_AGAIN: Final = 1_000_000


class RiscvCpu:
    """See the module's head. Implements GuestCpu.

    ``entry`` is where execution begins; None: there is nothing to run, and the hart waits. ``arguments`` are register
    number → value there (10 is a0). ``method`` is how it is stopped; None: the best that works here.
    """

    def __init__(
        self,
        memory: AddressSpace,
        clock: Clock,
        entry: int | None,
        arguments: Mapping[int, int],
        *,
        hart_id: int = 0,
        sbi: Sbi | None = None,
        method: StopMethod | None = None,
    ) -> None:
        self.memory = memory
        self.clock = clock
        self.hart_id = hart_id
        self.sbi = sbi
        self.method = method or best_method()
        self.on_line_raised: Callable[[], None] = _nobody
        self.on_deadline: Callable[[int], None] = _nobody_at
        self.entry = entry
        self.arguments = arguments
        self._lines_lock = threading.Lock()
        self._stale_code: deque[tuple[int, int]] = deque()
        self._thread = 0
        #: The vCPU's thread is in the guest or about to enter it.
        self._inside = False
        memory.on_write(self._memory_written)
        self.reset()

    # ---- GuestCpu

    def execute(self) -> Exit:
        """See GuestCpu."""
        if self.entry is None:
            return Exit.HALTED
        engine = self.engine
        self._thread = threading.get_ident()
        # Before the look at _stale_code: whoever adds to it either is seen by that look, or sees this and kicks.
        self._inside = True
        if self._stale_code:
            self._forget_stale_code()
        lines = self._sampled_lines(self.time())
        self._write_pending(lines)
        if self.sbi is None and self.traps.take_machine_interrupt(lines & MACHINE_LINES):
            # Nothing tells us when the guest enables it.
            self.on_deadline(self.clock.now() + LOOK_AGAIN)
        error = engine.run(self._pc.read()[0])
        self._inside = False
        if engine.callback_error is not None:
            failure, engine.callback_error = engine.callback_error, None
            raise failure
        if error:
            return self.traps.engine_error(error)
        if engine.stop_requested:
            engine.stop_requested = False
            return Exit.STOPPED
        if self.method is StopMethod.SLICES and not self._behind_wfi():
            return Exit.STOPPED
        return Exit.HALTED

    @any_thread
    def interrupt(self) -> None:
        """See GuestCpu."""
        self.engine.stop()

    def wake_time(self) -> int | None:
        """See GuestCpu."""
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
        """See GuestCpu."""
        timer = self._timer
        return timer[0] * NS_PER_TICK if timer is not None and self.time() < timer[0] else None

    def clock_changed(self) -> None:
        """See GuestCpu."""
        if self.engine.native_state is not None:
            self.engine.native_state.clock_offset = self.clock.offset()

    def reset(self) -> None:
        """See GuestCpu."""
        with self._lines_lock:
            self._lines = 0
            # (deadline in ticks, line): the line is up from that tick on.
            self._timer: tuple[int, int] | None = None
        self._written_lines = 0
        self._stale_code.clear()
        self.engine = Engine(
            self.memory,
            self.method,
            NS_PER_TICK,
            lambda number: self.traps.synchronous(number),
            native_time=self.clock.source.follows_kernel,
        )
        handle = self.engine.handle
        self._pc = Registers(handle, reg.UC_RISCV_REG_PC)
        self._privilege = Registers(handle, reg.UC_RISCV_REG_PRIV)
        self._pending = Registers(handle, reg.UC_RISCV_REG_MIP)
        self._interrupt_csrs = Registers(handle, reg.UC_RISCV_REG_MIP, reg.UC_RISCV_REG_MIE)
        self.traps = Traps(self, self.engine)
        self._set_first_registers()
        self.clock_changed()

    def registers(self) -> dict[str, int]:
        """See GuestCpu."""
        return read_registers(self)

    def statistics(self) -> dict[str, int]:
        """See GuestCpu."""
        traps, native_state = self.traps, self.engine.native_state
        counters = {f"exception-{cause}": count for cause, count in enumerate(traps.exceptions) if count}
        counters["machine-interrupts"] = traps.machine_interrupts
        counters["rdtime"] = traps.time_reads + (native_state.rdtime_count if native_state is not None else 0)
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
        if self._in_callback():
            self._update_lines_in_callback()
        elif level:
            self.on_line_raised()

    def set_timer(self, ticks: int, line: int) -> None:
        """Raise ``line`` (STIP or MTIP) once `time` reaches ``ticks``; lower it until then. vCPU thread."""
        self._timer = (ticks, line)
        # Decided before the lines are sampled: a deadline that passes in between is armed as well, which does no harm.
        ahead = self.time() < ticks
        if self.engine.running:
            self._update_lines_in_callback()
        if ahead and ticks < NEVER:
            self.on_deadline(ticks * NS_PER_TICK)

    def raise_software_interrupt(self) -> None:
        """Set SSIP, which the guest clears itself. vCPU thread."""
        privilege = self.read_privilege()
        self.set_privilege(MACHINE)
        self._pending.read()[0] |= SSIP
        self._pending.write()
        self.set_privilege(privilege)

    def time(self) -> int:
        """The guest's `time` CSR: ticks of NS_PER_TICK."""
        return self.clock.now() // NS_PER_TICK

    def _in_callback(self) -> bool:
        return self.engine.running and threading.get_ident() == self._thread

    def _sampled_lines(self, now: int) -> int:
        timer = self._timer
        lines = self._lines
        if timer is not None and now >= timer[0]:
            lines |= timer[1]
        return lines

    def _update_lines_in_callback(self) -> None:
        if self.sbi is None:
            # A machine trap is built outside the guest: leave it at the end of this block.
            self.engine.stop()
        self._write_pending(self._sampled_lines(self.time()))

    def _write_pending(self, lines: int) -> None:
        """The lines that MIP can hold, into MIP. The guest's own SSIP (and, under firmware, STIP) bits stay."""
        mask = SEIP | STIP if self.sbi is not None else SEIP
        wanted = lines & mask
        if wanted == self._written_lines:
            return
        self._written_lines = wanted
        privilege = self.read_privilege()
        self.set_privilege(MACHINE)
        pending = self._pending.read()
        pending[0] = (pending[0] & ~mask) | wanted
        self._pending.write()
        self.set_privilege(privilege)

    # ---- registers: vCPU thread

    def read_privilege(self) -> int:
        """The privilege that the hart is at: 0 user, 1 supervisor, 3 machine."""
        privilege: int = self._privilege.read()[0]
        return privilege

    def set_privilege(self, privilege: int) -> None:
        """Change PRIV, which decides what CSR accesses are allowed; put it back before the guest goes on."""
        self._privilege.values[0] = privilege
        self._privilege.write()

    def read_interrupt_csrs(self) -> tuple[int, int, int]:
        """Privilege, MIP and MIE now."""
        privilege = self.read_privilege()
        self.set_privilege(MACHINE)
        pending, enabled = self._interrupt_csrs.read()
        self.set_privilege(privilege)
        return privilege, pending, enabled

    def stop_in_callback(self) -> None:
        """Leave the guest at the end of the block that this callback was called from."""
        self.engine.stop()

    def _set_first_registers(self) -> None:
        first = {reg.UC_RISCV_REG_PRIV: MACHINE}
        if self.sbi is not None:
            # What firmware leaves behind: supervisor interrupts delegated, counters readable.
            first |= {reg.UC_RISCV_REG_MIDELEG: SSIP | STIP | SEIP, reg.UC_RISCV_REG_MCOUNTEREN: 7}
        first |= {reg.UC_RISCV_REG_X0 + number: value for number, value in self.arguments.items()}
        group = Registers(self.engine.handle, *first)
        for index, value in enumerate(first.values()):
            group.values[index] = value
        group.write()
        if self.sbi is not None:
            self.set_privilege(SUPERVISOR)
        self._pc.values[0] = self.entry or 0
        self._pc.write()

    def _behind_wfi(self) -> bool:
        return read_instruction(self.engine.handle, self._pc.read()[0] - 4) == WFI

    # ---- code that devices overwrite

    @any_thread
    def _memory_written(self, address: int, length: int) -> None:
        if not length:
            return
        self._stale_code.append((address, length))
        if self._in_callback():
            self.engine.stop()
        elif self._inside:
            self.on_line_raised()

    def _forget_stale_code(self) -> None:
        """Translations of what devices have written are wrong now: Unicorn notices only the guest's own writes."""
        privilege = self.read_privilege()
        # In M-mode virtual addresses are physical ones, which is what we have.
        self.set_privilege(MACHINE)
        if len(self._stale_code) > MAX_STALE_PIECES:
            self._stale_code.clear()
            self.engine.forget_all_code()
        while self._stale_code:
            address, length = self._stale_code.popleft()
            self.engine.forget_code(address, address + length)
        self.set_privilege(privilege)


def _nobody() -> None:
    """No vCPU yet: nobody to kick."""


def _nobody_at(deadline: int) -> None:
    """No vCPU yet: nobody to wake."""
