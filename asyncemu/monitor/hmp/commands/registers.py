# SPDX-License-Identifier: GPL-2.0-or-later
"""The vCPU's registers, and values made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from asyncemu.monitor.hmp.arguments import Flag, FormatOf, Number, Number32
from asyncemu.monitor.hmp.items import value_text
from asyncemu.monitor.hmp.session import Session, registers_of
from asyncemu.monitor.hmp.table import hmp_command
from asyncemu.vcpu.tcg.registers import CSRS, F_NAMES, X_NAMES

_A_LINE: Final = 4
#: CSRs whose bits another one has, and what is not shown.
_SHOWN_CSRS: Final = [name for name in CSRS if name not in ("sstatus", "sie", "sip", "misa")]


@hmp_command("print|p", "/fmt expr", "print expression value (use $reg for CPU register access)")
async def print_value(session: Session, format: FormatOf, value: Number) -> None:
    """The value of an expression."""
    session.print(value_text(value, format.letter) + "\n")


@hmp_command(
    "info registers",
    "[-a|vcpu]",
    "show the cpu registers (-a: show register info for all cpus; vcpu: specific vCPU to query; "
    "show the current CPU's registers if no argument is specified)",
)
async def info_registers(
    session: Session, all: Annotated[bool, Flag("a")] = False, vcpu: Number32 | None = None
) -> None:
    """As they are now; the guest leaves its code for a moment."""
    vcpus = session.machine.vcpus
    if vcpu is not None and vcpu >= len(vcpus):
        session.print(f"CPU#{vcpu} not available\n")
        return
    if not all:
        session.current_vcpu()
    chosen = range(len(vcpus)) if all else [session.cpu_index if vcpu is None else vcpu]
    for index in chosen:
        session.print(f"\nCPU#{index}\n" + _registers_text(await registers_of(vcpus[index])))


def _registers_text(values: Mapping[str, int]) -> str:
    lines = [f" pc       {values['pc']:016x}"]
    lines += [f" {name:<8} {values[name]:016x}" for name in _SHOWN_CSRS]
    return "\n".join([*lines, *_table(values, "x", X_NAMES), *_table(values, "f", F_NAMES)]) + "\n"


def _table(values: Mapping[str, int], letter: str, names: Sequence[str]) -> list[str]:
    cells = [f"{f'{letter}{number}/{name}':<8} {values[name]:016x}" for number, name in enumerate(names)]
    return [" " + " ".join(cells[start : start + _A_LINE]) for start in range(0, len(cells), _A_LINE)]
