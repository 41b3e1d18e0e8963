# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions as text: ``/i``. What capstone, which is optional, knows of riscv64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncemu.monitor.hmp.guest_memory import Reader
from asyncemu.monitor.hmp.scanner import LineFault

#: The lowest two bits of an instruction of more than 16 bits. RISC-V unprivileged, "Base Instruction-Length Encoding".
_LONG: Final = 0b11

#: Address and code of one instruction to its line.
Disassembler = Callable[[int, bytes], str]


def load_disassembler() -> Disassembler:
    """Raises LineFault where capstone is not installed."""
    try:
        import capstone
    except ImportError as error:
        raise LineFault("instructions need capstone: pip install asyncemu[disassembly]") from error
    engine = capstone.Cs(capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV64 | capstone.CS_MODE_RISCVC)

    def line(address: int, code: bytes) -> str:
        number = int.from_bytes(code, "little")
        # One instruction, or none: a code that is none of its length.
        found = next(engine.disasm_lite(code, address), None)
        mnemonic, operands = found[2:] if found is not None else ("illegal", "")
        return f"0x{address:016x}:  {number:0{2 * len(code)}x}{' ' * (18 - 2 * len(code))}{mnemonic:<23} {operands}\n"

    return line


def read_instruction(read: Reader, address: int) -> bytes | None:
    """The code at ``address``, 2 or 4 bytes; None: it can't be read."""
    code = read(address, 2)
    return code if code is None or code[0] & _LONG != _LONG else read(address, 4)
