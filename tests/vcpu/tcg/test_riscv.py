# SPDX-License-Identifier: GPL-2.0-or-later
"""Traps, interrupts, time and code that devices overwrite, seen from a guest program."""

from __future__ import annotations

import pytest

from asyncemu.memory import AddressSpace
from asyncemu.vcpu.tcg.riscv import SEIP
from tests.vcpu.bench import BASE, RESULT, assemble
from tests.vcpu.conftest import MakeHart

#: S-mode handler that stores scause, sepc, stval behind RESULT and halts; the program at ``body`` runs before.
TRAP = f"""
    la t0, handler
    csrw stvec, t0
    j body
    .balign 4
handler:
    li t0, {RESULT:#x}
    csrr t1, scause
    sd t1, 8(t0)
    csrr t1, sepc
    sd t1, 16(t0)
    csrr t1, stval
    sd t1, 24(t0)
    csrr t1, sstatus
    sd t1, 32(t0)
    li t1, 1
    sd t1, 0(t0)
1:  wfi
    j 1b
    .balign 4
    .space 4096 - (. - _start)
body:
"""
BODY = BASE + 4096


@pytest.mark.parametrize(
    ("instruction", "cause"),
    [("unimp", 2), ("ebreak", 3)],
)
async def test_trap_synchronous_cause_and_pc_are_exact(make_hart: MakeHart, instruction: str, cause: int) -> None:
    hart = make_hart(TRAP + instruction)

    await hart.until(lambda: hart.word() == 1)

    assert (hart.word(RESULT + 8), hart.word(RESULT + 16)) == (cause, BODY)


async def test_trap_ecall_from_user_is_cause_8(make_hart: MakeHart) -> None:
    hart = make_hart(TRAP + "la t0, user; csrw sepc, t0; csrwi sstatus, 0; sret; .balign 4; user: ecall")

    await hart.until(lambda: hart.word() == 1)

    assert hart.word(RESULT + 8) == 8


async def test_trap_page_fault_stval_is_the_address(make_hart: MakeHart) -> None:
    # A Sv39 root of one gigapage that maps this program onto itself, and nothing else.
    source = f"""
    li t0, {BASE + 0x10000:#x}
    li t1, ({BASE:#x} >> 12) << 10 | 0xcf
    sd t1, 16(t0)
    li t1, 8 << 60 | {(BASE + 0x10000) >> 12:#x}
    csrw satp, t1
    sfence.vma
    li t2, 0x123456
    lb t3, 2(t2)
    """
    hart = make_hart(TRAP + source)

    await hart.until(lambda: hart.word() == 1)

    assert (hart.word(RESULT + 8), hart.word(RESULT + 24)) == (13, 0x123458)


@pytest.mark.parametrize(("access", "cause"), [("ld t1, 0(t0)", 5), ("jr t0", 1)])
async def test_trap_nothing_mapped_is_an_exact_access_fault(make_hart: MakeHart, access: str, cause: int) -> None:
    hart = make_hart(TRAP + f"li t0, 0x40000000\n{access}")

    await hart.until(lambda: hart.word() == 1)

    assert hart.word(RESULT + 8) == cause
    assert hart.word(RESULT + 16) in (BODY + 4, 0x4000_0000)


async def test_trap_store_to_nothing_is_a_store_access_fault(make_hart: MakeHart) -> None:
    hart = make_hart(TRAP + "li t0, 0x40000000\nsd t1, 0(t0)\n1: j 1b")

    await hart.until(lambda: hart.word() == 1)

    assert hart.word(RESULT + 8) == 7


async def test_interrupt_external_line_traps_with_previous_state_saved(make_hart: MakeHart) -> None:
    hart = make_hart(TRAP + "li t0, 0x200; csrw sie, t0; csrsi sstatus, 2; 1: j 1b")

    hart.cpu.set_line(SEIP, True)
    await hart.until(lambda: hart.word() == 1)

    assert hart.word(RESULT + 8) == 1 << 63 | 9
    status = hart.word(RESULT + 32)
    assert (status >> 1 & 1, status >> 5 & 1, status >> 8 & 1) == (0, 1, 1)


async def test_interrupt_timer_by_sbi_comes_after_its_deadline(make_hart: MakeHart) -> None:
    # A handler of its own: the time is read first, as a busy host may let the deadline pass before the loop runs.
    source = f"""
    la t0, due
    csrw stvec, t0
    li t0, 0x20; csrw sie, t0; csrsi sstatus, 2
    rdtime s0
    li t0, 5000
    add s0, s0, t0
    mv a0, s0
    li a6, 0
    li a7, 0x54494D45
    ecall
1:  j 1b
    .balign 4
due:
    rdtime s1
    li t0, {RESULT:#x}
    csrr t1, scause
    sd t1, 8(t0)
    sd s0, 16(t0)
    sd s1, 24(t0)
    li t1, 1
    sd t1, 0(t0)
2:  wfi
    j 2b
    """
    hart = make_hart(source)

    await hart.until(lambda: hart.word() == 1)

    assert hart.word(RESULT + 8) == 1 << 63 | 5
    deadline, trapped = hart.word(RESULT + 16), hart.word(RESULT + 24)
    assert 5000 < deadline <= trapped


async def test_rdtime_without_native_helper_goes_on(make_hart: MakeHart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCEMU_NATIVE", "0")
    hart = make_hart(f"rdtime t0; rdtime t1; sub t0, t1, t0; li t2, {RESULT:#x}; sd t0, 8(t2); li t0, 1; sd t0, 0(t2)")

    await hart.until(lambda: hart.word() == 1 or bool(hart.faults))

    assert 0 < hart.word(RESULT + 8) < 10_000_000
    assert hart.cpu.statistics()["rdtime"] == 2


async def test_rdtime_stands_still_while_paused(make_hart: MakeHart) -> None:
    hart = make_hart(f"li t1, {RESULT:#x}; 1: rdtime t0; sd t0, 0(t1); j 1b")
    await hart.until(lambda: hart.word() > 0)

    await hart.pause()
    stopped_at, clock_at = hart.word(), hart.cpu.time()
    hart.run()
    await hart.until(lambda: hart.word() > stopped_at)

    assert stopped_at <= clock_at
    assert hart.cpu.time() >= clock_at


async def test_memory_code_overwritten_by_a_device_is_translated_anew(make_hart: MakeHart) -> None:
    target = BASE + 0x4000
    returns_1 = assemble("li a0, 1; ret")
    returns_2 = assemble("li a0, 2; ret")
    hart = make_hart(f"li s0, {RESULT:#x}; li s1, {target:#x}; 1: jalr s1; sd a0, 0(s0); j 1b", run=False)
    hart.memory.write(target, returns_1)
    hart.run()
    await hart.until(lambda: hart.word() == 1)

    hart.memory.write(target, returns_2)
    await hart.until(lambda: hart.word() == 2)

    assert not hart.faults


async def test_memory_many_pieces_overwritten_all_are_translated_anew(make_hart: MakeHart) -> None:
    target = BASE + 0x4000
    hart = make_hart(f"li s0, {RESULT:#x}; li s1, {target:#x}; 1: jalr s1; sd a0, 0(s0); j 1b", run=False)
    hart.memory.write(target, assemble("li a0, 1; ret"))
    hart.run()
    await hart.until(lambda: hart.word() == 1)
    await hart.pause()

    for piece in range(200):
        hart.memory.write(BASE + 0x20000 + 64 * piece, b"\0" * 64)
    hart.memory.write(target, assemble("li a0, 2; ret"))
    hart.run()
    await hart.until(lambda: hart.word() == 2)

    assert not hart.faults


async def test_mmio_handler_that_raises_ends_the_vcpu_with_that_error(make_hart: MakeHart) -> None:
    class Broken:
        def mmio_read(self, offset: int, size: int) -> int:
            raise ZeroDivisionError

        def mmio_write(self, offset: int, size: int, value: int) -> None:
            raise ZeroDivisionError

    def prepare(memory: AddressSpace) -> None:
        memory.add_mmio(0x1000_0000, 0x1000, Broken(), "broken")

    hart = make_hart("li t0, 0x10000000; lw t1, 0(t0); 1: j 1b", prepare=prepare)

    assert isinstance(await hart.until_fault(), ZeroDivisionError)


async def test_mmio_widths_and_values_arrive_as_the_guest_made_them(make_hart: MakeHart) -> None:
    seen: list[tuple[int, int, int]] = []

    class Recorder:
        def mmio_read(self, offset: int, size: int) -> int:
            return 0x81

        def mmio_write(self, offset: int, size: int, value: int) -> None:
            seen.append((offset, size, value))

    def prepare(memory: AddressSpace) -> None:
        memory.add_mmio(0x1000_0000, 0x1000, Recorder(), "recorder")

    source = f"""
    li t0, 0x10000000
    li t1, 0x11223344
    sb t1, 1(t0)
    sh t1, 2(t0)
    sw t1, 4(t0)
    lb t2, 0(t0)
    li t3, {RESULT:#x}
    sd t2, 8(t3)
    li t1, 1
    sd t1, 0(t3)
1:  j 1b
    """
    hart = make_hart(source, prepare=prepare)

    await hart.until(lambda: hart.word() == 1)

    assert seen == [(1, 1, 0x44), (2, 2, 0x3344), (4, 4, 0x11223344)]
    assert hart.word(RESULT + 8) == (1 << 64) - 0x7F


async def test_firmware_machine_timer_traps_to_mtvec(make_hart: MakeHart) -> None:
    source = f"""
    la t0, handler
    csrw mtvec, t0
    li t0, 0x80
    csrw mie, t0
    csrsi mstatus, 8
1:  wfi
    j 1b
    .balign 4
handler:
    li t0, {RESULT:#x}
    csrr t1, mcause
    sd t1, 8(t0)
    li t1, 1
    sd t1, 0(t0)
2:  j 2b
    """
    hart = make_hart(source, firmware=True)
    await hart.until(lambda: hart.vcpu.statistics()["halts"] > 0)

    hart.cpu.set_line(1 << 7, True)
    await hart.until(lambda: hart.word() == 1)

    assert hart.word(RESULT + 8) == 1 << 63 | 7


async def test_firmware_interrupt_enabled_late_is_taken(make_hart: MakeHart) -> None:
    source = f"""
    la t0, handler
    csrw mtvec, t0
    li t0, 0x8
    csrw mie, t0
    li t0, {RESULT:#x}
    li t1, 7
    sd t1, 32(t0)
1:  ld t1, 40(t0)
    beqz t1, 1b
    csrsi mstatus, 8
2:  j 2b
    .balign 4
handler:
    li t1, 1
    sd t1, 0(t0)
3:  j 3b
    """
    hart = make_hart(source, firmware=True)
    await hart.until(lambda: hart.word(RESULT + 32) == 7)

    hart.cpu.set_line(1 << 3, True)
    await hart.vcpu.run_on_cpu(lambda: None)
    hart.set_word(RESULT + 40, 1)
    await hart.until(lambda: hart.word() == 1)

    assert not hart.faults
