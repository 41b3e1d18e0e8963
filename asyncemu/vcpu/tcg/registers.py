# SPDX-License-Identifier: GPL-2.0-or-later
"""All registers of a riscv64 hart on Unicorn, by name, for those who look at a guest: the monitor, dumps.

Names: pc, priv; x0 to x31 and f0 to f31, also by what the calling convention calls them (zero, ra, sp, ..., ft0, ...);
the CSRs of CSRS. Source: RISC-V calling conventions, "Register Convention"; privileged architecture 1.12, chapter 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from unicorn import riscv_const

from asyncemu.vcpu.tcg.unicorn_library import Registers

if TYPE_CHECKING:
    from asyncemu.vcpu.tcg.riscv import RiscvCpu


def _numbered(prefix: str, first: int, last: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(first, last + 1)]


#: By number: what the calling convention calls them.
X_NAMES: Final = (
    *("zero", "ra", "sp", "gp", "tp"),
    *_numbered("t", 0, 2),
    *_numbered("s", 0, 1),
    *_numbered("a", 0, 7),
    *_numbered("s", 2, 11),
    *_numbered("t", 3, 6),
)
F_NAMES: Final = (
    *_numbered("ft", 0, 7),
    *_numbered("fs", 0, 1),
    *_numbered("fa", 0, 7),
    *_numbered("fs", 2, 11),
    *_numbered("ft", 8, 11),
)
#: In the order in which QEMU shows them.
CSRS: Final = (
    *("mhartid", "mstatus", "mip", "mie", "mideleg", "medeleg", "mtvec"),
    *("stvec", "mepc", "sepc", "mcause", "scause", "mtval", "stval"),
    *("mscratch", "sscratch", "satp", "sstatus", "sie", "sip", "misa"),
)

_MACHINE: Final = 3


def _number(name: str) -> int:
    number: int = getattr(riscv_const, f"UC_RISCV_REG_{name.upper()}")
    return number


def read_registers(cpu: RiscvCpu) -> dict[str, int]:
    """All of them, unsigned, of 64 bits. On the vCPU's thread, outside the guest."""
    handle = cpu.engine.handle
    privilege = cpu.read_privilege()
    names = ["pc", *(f"x{number}" for number in range(32)), *(f"f{number}" for number in range(32))]
    values = dict(zip(names, Registers(handle, *map(_number, names)).read(), strict=True))
    # What a hart shows to its own level only.
    cpu.set_privilege(_MACHINE)
    try:
        values |= zip(CSRS, Registers(handle, *map(_number, CSRS)).read(), strict=True)
    finally:
        cpu.set_privilege(privilege)
    values["priv"] = privilege
    values["mhartid"] = cpu.hart_id
    for number, (x_name, f_name) in enumerate(zip(X_NAMES, F_NAMES, strict=True)):
        values[x_name] = values[f"x{number}"]
        values[f_name] = values[f"f{number}"]
    values["fp"] = values["x8"]
    return values
