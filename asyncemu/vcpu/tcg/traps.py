# SPDX-License-Identifier: GPL-2.0-or-later
"""Traps of a riscv64 hart: Unicorn hands every exception up instead of delivering it, so delivering is done here.

At a UC_HOOK_INTR callback PC is behind the instruction, always by 4, and an environment call is always cause 8: the
privilege tells which. The faulting address is in no register that can be read; it is taken from the saved context, at
an offset that ``_find_bad_address`` checks. PC is written in a batch with PRIV: written alone inside a hook it leaves a
stale flag in Unicorn that spoils the next stop. Source: RISC-V privileged architecture 1.12, "Trap Entry" of the M and
S levels.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any, Final

import unicorn
from unicorn import riscv_const as reg
from unicorn import unicorn_const

from asyncemu.vcpu.cpu import Exit, GuestFault
from asyncemu.vcpu.tcg.unicorn_library import Registers, context_save, read_instruction

if TYPE_CHECKING:
    from asyncemu.vcpu.tcg.engine import Engine
    from asyncemu.vcpu.tcg.riscv import RiscvCpu

INTERRUPT: Final = 1 << 63

# Exception codes: privileged 1.12, table of mcause.
INSTRUCTION_ACCESS: Final = 1
ILLEGAL_INSTRUCTION: Final = 2
BREAKPOINT: Final = 3
LOAD_ACCESS: Final = 5
STORE_ACCESS: Final = 7
ECALL_FROM_U: Final = 8
ECALL_FROM_S: Final = 9
ECALL_FROM_M: Final = 11
#: Causes whose tval is the address that env->badaddr keeps: misaligned, access and page faults.
_ADDRESS_CAUSES: Final = frozenset((0, 1, 4, 5, 6, 7, 12, 13, 15))

#: What emu_start returns for `ebreak`, and for an access where nothing is mapped.
_ERROR_CAUSES: Final = {
    unicorn_const.UC_ERR_INSN_INVALID: BREAKPOINT,
    unicorn_const.UC_ERR_READ_UNMAPPED: LOAD_ACCESS,
    unicorn_const.UC_ERR_WRITE_UNMAPPED: STORE_ACCESS,
    unicorn_const.UC_ERR_FETCH_UNMAPPED: INSTRUCTION_ACCESS,
}

# mstatus and sstatus fields.
SIE: Final = 1 << 1
MIE: Final = 1 << 3
SPIE: Final = 1 << 5
MPIE: Final = 1 << 7
SPP: Final = 1 << 8
MPP: Final = 3 << 11

RDTIME_MASK: Final = 0xFFFFF07F
RDTIME: Final = 0xC0102073

#: Where badaddr is in CPURISCVState of the 2.1.4 wheel, in bytes.
_BADADDR_OFFSET: Final = 544
_SENTINEL: Final = 0x1122334455667788
_MASK64: Final = (1 << 64) - 1


class Traps:
    """The traps of one RiscvCpu. vCPU thread only."""

    def __init__(self, cpu: RiscvCpu, engine: Engine) -> None:
        self.cpu = cpu
        self.engine = engine
        #: Exceptions delivered, by cause.
        self.exceptions = [0] * 16
        self.machine_interrupts = 0
        self.time_reads = 0
        handle = engine.handle
        self._where = Registers(handle, reg.UC_RISCV_REG_PC, reg.UC_RISCV_REG_PRIV)
        self._resume = Registers(handle, reg.UC_RISCV_REG_PRIV, reg.UC_RISCV_REG_PC)
        self._s_read = Registers(handle, reg.UC_RISCV_REG_SSTATUS, reg.UC_RISCV_REG_STVEC)
        self._s_write = Registers(
            handle,
            reg.UC_RISCV_REG_SSTATUS,
            reg.UC_RISCV_REG_SEPC,
            reg.UC_RISCV_REG_SCAUSE,
            reg.UC_RISCV_REG_STVAL,
            reg.UC_RISCV_REG_PRIV,
            reg.UC_RISCV_REG_PC,
        )
        self._m_read = Registers(handle, reg.UC_RISCV_REG_MSTATUS, reg.UC_RISCV_REG_MTVEC, reg.UC_RISCV_REG_MEDELEG)
        self._m_write = Registers(
            handle,
            reg.UC_RISCV_REG_MSTATUS,
            reg.UC_RISCV_REG_MEPC,
            reg.UC_RISCV_REG_MCAUSE,
            reg.UC_RISCV_REG_MTVAL,
            reg.UC_RISCV_REG_PRIV,
            reg.UC_RISCV_REG_PC,
        )
        self._arguments = Registers(handle, *(reg.UC_RISCV_REG_X0 + number for number in range(10, 18)))
        self._results = Registers(handle, reg.UC_RISCV_REG_X10, reg.UC_RISCV_REG_X11)
        self._context: Any = engine.uc.context_save()
        self._context_pointer = ctypes.cast(self._context._context, ctypes.c_void_p).value
        self._bad_address = self._find_bad_address()

    # ---- what the hooks call

    def synchronous(self, number: int) -> None:
        """An exception at the instruction before PC. Inside UC_HOOK_INTR."""
        cpu = self.cpu
        pc, privilege = self._where.read()
        pc = (pc - 4) & _MASK64
        if number == ECALL_FROM_U:
            if privilege == 1:
                if cpu.sbi is not None:
                    self._environment_call(cpu.sbi)
                    return
                number = ECALL_FROM_S
            elif privilege == 3:
                number = ECALL_FROM_M
        elif number == ILLEGAL_INSTRUCTION and self._read_time(pc):
            return
        value = 0
        if number in _ADDRESS_CAUSES:
            context_save(self.engine.handle, self._context_pointer)
            value = self._bad_address.value
        self.exceptions[number & 15] += 1
        self._deliver(number, privilege, pc, value)

    def engine_error(self, error: int) -> Exit:
        """emu_start has returned ``error``: `ebreak`, an access where nothing is mapped, or the end. Outside the guest.

        PC is exact for `ebreak`, a load and a fetch. Behind a store the rest of its block has run, so that fault is
        late, like the bus errors of real machines; no instruction runs twice. A hook would tell the address and the
        exact PC, but with any hook on memory every load and store of the guest leaves the fast path: a boot takes 2.4
        times as long.
        """
        pc, privilege = self._where.read()
        cause = _ERROR_CAUSES.get(error)
        if cause is None:
            raise GuestFault(f"hart {self.cpu.hart_id} at {pc:#x}: {unicorn.UcError(error)}")
        self.exceptions[cause] += 1
        self._deliver(cause, privilege, pc, pc if cause == BREAKPOINT else 0)
        return Exit.STOPPED

    def take_machine_interrupt(self, lines: int) -> bool:
        """Trap into M-mode when one of ``lines`` (MSIP, MTIP, MEIP) is enabled there. Outside the guest.

        True when one has to wait because the guest has not enabled it.
        """
        if not lines:
            return False
        privilege, _, enabled = self.cpu.read_interrupt_csrs()
        pc, _ = self._where.read()
        self.cpu.set_privilege(3)
        status = self._m_read.read()[0]
        due = lines & enabled
        if due and (privilege < 3 or status & MIE):
            # Privileged 1.12, 3.1.9: external before software before timer.
            code = 11 if due & 1 << 11 else 3 if due & 1 << 3 else 7
            self.machine_interrupts += 1
            self._enter_machine(INTERRUPT | code, privilege, pc, 0)
            return False
        self.cpu.set_privilege(privilege)
        return True

    # ---- delivery

    def _deliver(self, cause: int, privilege: int, pc: int, value: int) -> None:
        cpu = self.cpu
        cpu.set_privilege(3)
        if privilege < 3 and (cpu.sbi is not None or self._m_read.read()[2] >> cause & 1):
            self._enter_supervisor(cause, privilege, pc, value)
        elif cpu.sbi is None:
            self._enter_machine(cause, privilege, pc, value)
        else:
            raise GuestFault(f"hart {cpu.hart_id} at {pc:#x}: exception {cause} in M-mode, where no firmware is")

    def _enter_supervisor(self, cause: int, privilege: int, pc: int, value: int) -> None:
        status, vector = self._s_read.read()
        if not vector:
            raise GuestFault(f"hart {self.cpu.hart_id} at {pc:#x}: exception {cause} and no trap handler in stvec")
        new = status & ~(SPP | SPIE | SIE)
        if privilege:
            new |= SPP
        if status & SIE:
            new |= SPIE
        values = self._s_write.values
        values[0], values[1], values[2], values[3], values[4], values[5] = new, pc, cause, value, 1, vector & ~3
        self._s_write.write()

    def _enter_machine(self, cause: int, privilege: int, pc: int, value: int) -> None:
        status, vector, _ = self._m_read.read()
        if not vector:
            raise GuestFault(f"hart {self.cpu.hart_id} at {pc:#x}: exception {cause} and no trap handler in mtvec")
        new = status & ~(MPP | MPIE | MIE) | privilege << 11
        if status & MIE:
            new |= MPIE
        target = vector & ~3
        if cause & INTERRUPT and vector & 1:
            target += 4 * (cause & 0xFF)
        values = self._m_write.values
        values[0], values[1], values[2], values[3], values[4], values[5] = new, pc, cause, value, 3, target
        self._m_write.write()

    def _environment_call(self, sbi: Any) -> None:
        arguments = list(self._arguments.read())
        # The trap returns behind the ecall, where PC is already.
        results = sbi.call(self.cpu, arguments)
        self._results.values[0] = results[0] & _MASK64
        self._results.values[1] = results[1] & _MASK64
        self._results.write()

    def _read_time(self, pc: int) -> bool:
        """Serve `rdtime`, which Unicorn does not know; False when the instruction is another one."""
        instruction = read_instruction(self.engine.handle, pc)
        if instruction is None or instruction & RDTIME_MASK != RDTIME:
            return False
        target = instruction >> 7 & 31
        if target:
            self.engine.uc.reg_write(reg.UC_RISCV_REG_X0 + target, self.cpu.time())
        self.time_reads += 1
        return True

    def _find_bad_address(self) -> ctypes.c_uint64:
        """env->badaddr within our saved context: env is found by a sentinel in x31, badaddr is at a known offset."""
        engine = self.engine
        engine.uc.reg_write(reg.UC_RISCV_REG_X31, _SENTINEL)
        context_save(engine.handle, self._context_pointer)
        engine.uc.reg_write(reg.UC_RISCV_REG_X31, 0)
        saved = bytes(self._context)
        env = saved.index(struct.pack("<Q", _SENTINEL)) - 31 * 8
        assert self._context_pointer is not None
        return ctypes.c_uint64.from_address(self._context_pointer + env + _BADADDR_OFFSET)
