# SPDX-License-Identifier: GPL-2.0-or-later
"""Code that the guest itself overwrites, by mappings that are not executable, is translated anew."""

from __future__ import annotations

import pytest

from asyncemu.vcpu.tcg import code_pages
from asyncemu.vcpu.tcg.exact_stop import StopMethod
from tests.vcpu.bench import BASE, RESULT
from tests.vcpu.conftest import MakeHart

ROOT, LEVEL_1, LEVEL_0, CODE = BASE + 0x30000, BASE + 0x31000, BASE + 0x32000, BASE + 0x40000
#: Where CODE is mapped executable, and where it is mapped writable as well, without a change of either.
TEXT, ALIAS = 0x4000_0000, 0x4010_0000

#: Sv39: this program onto itself, CODE's pages at TEXT as ``map_text`` has them last and at ALIAS writable.
#: ``write`` stores a function that returns a0 at t3 + 0 and t3 + 0x800, ``call`` calls both and stores their results.
PROGRAM = f"""
    .equ READ_WRITE, 0xc7
    .equ READ_EXECUTE, 0x4b
    j main
    .balign 4
map:
    li t0, ({CODE:#x} >> 12) << 10
    or t0, t0, a0
    li t1, {LEVEL_0:#x}
    li t2, 2048
    add t2, t2, a1
    add t1, t1, a1
    li t4, 256
    li t5, 1 << 10
1:  sd t0, 0(t1)
    add t0, t0, t5
    addi t1, t1, 8
    addi t4, t4, -1
    bnez t4, 1b
    ret
write:
    li t1, 0x80820000 | 0x4501
    slli a0, a0, 2
    add t1, t1, a0
    sw t1, 0(t3)
    li t0, 0x800
    add t0, t0, t3
    sw t1, 0(t0)
    ret
call:
    mv s9, ra
    jalr t3
    sd a0, 0(s11)
    li t0, 0x800
    add t0, t0, t3
    jalr t0
    sd a0, 8(s11)
    addi s11, s11, 16
    jr s9
main:
    li s11, {RESULT + 8:#x}
    li t0, {ROOT:#x}
    li t1, ({BASE:#x} >> 12) << 10 | 0xcf
    sd t1, 16(t0)
    li t1, ({LEVEL_1:#x} >> 12) << 10 | 1
    sd t1, 8(t0)
    li t0, {LEVEL_1:#x}
    li t1, ({LEVEL_0:#x} >> 12) << 10 | 1
    sd t1, 0(t0)
    li a0, READ_WRITE
    li a1, 2048
    call map
    li a0, READ_WRITE
    li a1, 0
    call map
    li t1, 8 << 60 | {ROOT:#x} >> 12
    csrw satp, t1
    sfence.vma
"""
DONE = f"""
    li t0, {RESULT:#x}
    li t1, 1
    sd t1, 0(t0)
1:  wfi
    j 1b
"""


def remap(permissions: str) -> str:
    """TEXT becomes READ_WRITE or READ_EXECUTE."""
    return f"li a0, {permissions}; li a1, 0; call map; sfence.vma; fence.i\n"


def write(address: int, value: int) -> str:
    """Functions that return ``value`` (0 to 7), at ``address`` and half a page behind it."""
    return f"li t3, {address:#x}; li a0, {value}; call write\n"


def call(address: int) -> str:
    """Call both; their results go behind RESULT."""
    return f"li t3, {address:#x}; call call\n"


METHODS = [StopMethod.EXIT_CHECKS_OFF, StopMethod.BLOCK_HOOK, StopMethod.SLICES]


@pytest.mark.parametrize("method", METHODS)
async def test_code_rewritten_where_another_was_runs_anew(make_hart: MakeHart, method: StopMethod) -> None:
    """As a kernel does that frees one module's memory and loads another one's code to the same place."""
    source = write(TEXT, 1) + remap("READ_EXECUTE") + call(TEXT)
    source += remap("READ_WRITE") + write(TEXT, 2) + remap("READ_EXECUTE") + call(TEXT)
    hart = make_hart(PROGRAM + source + DONE, method=method)

    await hart.until(lambda: hart.word() == 1)

    assert [hart.word(RESULT + 8 + 8 * index) for index in range(4)] == [1, 1, 2, 2]


async def test_code_rewritten_by_an_alias_that_was_written_before_runs_anew(make_hart: MakeHart) -> None:
    """No TLB flush in between: what the TLB knows of the alias is from before the first translation."""
    source = remap("READ_EXECUTE") + write(ALIAS, 1) + "fence.i\n" + call(TEXT)
    source += write(ALIAS, 2) + "fence.i\n" + call(TEXT)
    hart = make_hart(PROGRAM + source + DONE)

    await hart.until(lambda: hart.word() == 1)

    assert [hart.word(RESULT + 8 + 8 * index) for index in range(4)] == [1, 1, 2, 2]


@pytest.mark.parametrize("most_pages", [code_pages.MAX_PAGES, 10])
async def test_code_on_more_pages_than_hooks_runs_anew(
    make_hart: MakeHart, monkeypatch: pytest.MonkeyPatch, most_pages: int
) -> None:
    """Every other page first, so that none is adjacent, then those in between; forgotten now and then, or never."""
    monkeypatch.setattr(code_pages, "MAX_PAGES", most_pages)
    pages = [*range(0, 64, 2), *range(1, 64, 2)]
    source = "".join(write(TEXT + 4096 * page, 1) for page in pages) + remap("READ_EXECUTE")
    source += "".join(call(TEXT + 4096 * page) for page in pages) + remap("READ_WRITE")
    source += "".join(write(TEXT + 4096 * page, 2) for page in pages) + remap("READ_EXECUTE")
    source += f"li s11, {RESULT + 8:#x}\n" + "".join(call(TEXT + 4096 * page) for page in pages)
    hart = make_hart(PROGRAM + source + DONE)

    await hart.until(lambda: hart.word() == 1)

    assert [hart.word(RESULT + 8 + 8 * index) for index in range(128)] == [2] * 128


@pytest.mark.parametrize("method", METHODS)
async def test_data_among_code_is_stored_as_written(make_hart: MakeHart, method: StopMethod) -> None:
    """Stores to pages with a hook over them take another path; they must arrive all the same."""
    source = remap("READ_EXECUTE") + write(ALIAS, 3) + "fence.i\n" + call(TEXT)
    source += f"""
    li t0, {ALIAS + 0x400:#x}
    li t1, 0x1122334455667788
    sd t1, 0(t0)
    sw t1, 12(t0)
    sh t1, 17(t0)
    sb t1, 20(t0)
    amoadd.d t2, t1, (t0)
    li t0, {ALIAS + 0xFFC:#x}
    sd t1, 0(t0)
    """
    hart = make_hart(PROGRAM + source + DONE, method=method)

    await hart.until(lambda: hart.word() == 1)

    expected = (0x1122334455667788 * 2).to_bytes(8, "little") + bytes.fromhex("00000000 88776655 00 8877 00 88")
    assert hart.memory.read(CODE + 0x400, 21) == expected
    assert hart.memory.read(CODE + 0xFFC, 8) == (0x1122334455667788).to_bytes(8, "little")
