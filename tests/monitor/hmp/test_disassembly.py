# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions as text."""

from __future__ import annotations

import sys

import pytest

from asyncemu.monitor.hmp.session import Session
from tests.monitor.hmp.conftest import RAM_BASE
from tests.vcpu.bench import assemble


async def test_instructions_of_both_lengths_are_shown_one_after_the_other(session: Session) -> None:
    pytest.importorskip("capstone")
    session.machine.memory.write(RAM_BASE, assemble("c.addi a0, 1; addi a1, a0, 100; .half 0"))

    text = await session.run(f"xp/3i {RAM_BASE:#x}")

    assert [line.rstrip().split(None, 2) for line in text.splitlines()] == [
        ["0x0000000080000000:", "0505", "c.addi                  a0, 1"],
        ["0x0000000080000002:", "06450593", "addi                    a1, a0, 0x64"],
        ["0x0000000080000006:", "0000", "c.unimp"],
    ]


async def test_instructions_end_where_memory_ends(session: Session) -> None:
    pytest.importorskip("capstone")

    text = await session.run("xp/9i 0x80fffffe")

    assert text.splitlines()[1:] == ["0x0000000081000000: Cannot access memory"]


async def test_code_that_is_no_instruction_is_illegal(session: Session) -> None:
    pytest.importorskip("capstone")
    session.machine.memory.write(RAM_BASE, b"\xff\xff\xff\xff")

    text = await session.run(f"xp/i {RAM_BASE:#x}")

    assert text.split()[1:] == ["ffffffff", "illegal"]


async def test_without_capstone_it_says_what_to_install(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "capstone", None)

    text = await session.run(f"xp/i {RAM_BASE:#x}")

    assert text == "instructions need capstone: pip install asyncemu[disassembly]\n"
