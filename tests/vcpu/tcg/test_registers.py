# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers of a hart that has run a few instructions."""

from __future__ import annotations

from asyncemu.loop import AioContext
from tests.vcpu.bench import BASE, RESULT, Hart, assemble

PROGRAM = f"""
    li a0, 0x1234
    csrw sscratch, a0
    li t0, 0x6000
    csrs sstatus, t0
    fcvt.d.l fa0, a0
    li t1, {RESULT}
    li t2, 1
    sd t2, 0(t1)
1:  j 1b
"""


async def test_registers_are_those_of_the_guest_by_all_their_names(context: AioContext) -> None:
    program = assemble(PROGRAM)
    hart = Hart(context, program)
    hart.run()
    await hart.until(lambda: hart.word() == 1)
    await hart.pause()

    registers = await hart.vcpu.run_on_cpu(hart.cpu.registers)
    await hart.close()

    assert registers["a0"] == registers["x10"] == registers["sscratch"] == 0x1234
    assert registers["fa0"] == registers["f10"] == 0x40B2340000000000  # 4660.0, IEEE 754
    assert BASE < registers["pc"] < BASE + len(program)
    assert (registers["priv"], registers["satp"], registers["zero"], registers["mhartid"]) == (1, 0, 0, 0)
    assert registers["mideleg"] & 0x222 == 0x222


async def test_registers_asked_for_twice_are_the_same(context: AioContext) -> None:
    hart = Hart(context, assemble("1: j 1b"))

    first = await hart.vcpu.run_on_cpu(hart.cpu.registers)
    second = await hart.vcpu.run_on_cpu(hart.cpu.registers)
    await hart.close()

    assert first == second
