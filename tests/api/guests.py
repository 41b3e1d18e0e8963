# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of a few instructions, on the board's UART."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.vcpu.bench import assemble

#: Greets, then sends back each character plus one; "q" powers off.
ECHO = """
    li s0, 0x10000000
    la s1, greeting
1:  lbu a0, 0(s1)
    beqz a0, 2f
    sb a0, 0(s0)
    addi s1, s1, 1
    j 1b
2:  lbu t0, 5(s0)
    andi t0, t0, 1
    beqz t0, 2b
    lbu a0, 0(s0)
    li t1, 'q'
    beq a0, t1, 3f
    addi a0, a0, 1
    sb a0, 0(s0)
    j 2b
3:  li a0, 0; li a1, 0; li a6, 0; li a7, 0x53525354; ecall
4:  j 4b
greeting: .asciz "hello\\n"
"""


def echo_machine(directory: Path, **tables: Any) -> dict[str, Any]:
    """The tables of a machine with that guest, whose kernel lies in ``directory``."""
    kernel = directory / "kernel.bin"
    kernel.write_bytes(assemble(ECHO))
    return {"machine": {"memory": "16MiB", "kernel": str(kernel), **tables.pop("machine", {})}, **tables}
