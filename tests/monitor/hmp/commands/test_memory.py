# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory of a guest that has its addresses translated. What is physical: test_against_qemu.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncemu.monitor.control import Control
from asyncemu.monitor.hmp.session import Session
from asyncemu.testing.waiting import until
from tests.monitor.hmp.conftest import RAM_BASE, Build
from tests.vcpu.bench import assemble

#: Page tables, what they map, and where the guest says that it uses them.
ROOT, MIDDLE, LOW = RAM_BASE + 0x80_0000, RAM_BASE + 0x80_1000, RAM_BASE + 0x80_2000
PAGES = RAM_BASE + 0x90_0000
SAID = RAM_BASE + 0x81_0000

PROGRAM = f"""
    li t0, {8 << 60 | ROOT >> 12:#x}
    csrw satp, t0
    sfence.vma
    li sp, 0x1ff8
    li t1, {SAID}
    li t2, 1
    sd t2, 0(t1)
1:  j 1b
"""


def entry(target: int, bits: int) -> bytes:
    return (target >> 12 << 10 | bits).to_bytes(8, "little")


@pytest.fixture
async def paged(build: Build, tmp_path: Path) -> AsyncIterator[Session]:
    """A guest with 0x1000 to 0x2fff in two pages that do not follow each other, and RAM at its own addresses."""
    (tmp_path / "kernel.bin").write_bytes(assemble(PROGRAM))
    machine = await build(machine={"kernel": "kernel.bin"})
    memory = machine.memory
    for address, data in (
        (ROOT, entry(MIDDLE, 1)),
        (ROOT + 2 * 8, entry(RAM_BASE, 0xCF)),
        (MIDDLE, entry(LOW, 1)),
        (LOW + 1 * 8, entry(PAGES + 0x3000, 0xC7)),
        (LOW + 2 * 8, entry(PAGES, 0xC3)),
        (PAGES + 0x3FF8, b"ABCDEFGH"),
        (PAGES, b"IJKLMNOP"),
    ):
        memory.write(address, data)
    machine.resume()
    await until(lambda: memory.read(SAID, 1) == b"\x01")
    await machine.pause()
    yield Session(Control(machine))


async def test_x_reads_through_the_page_tables_also_over_a_page_s_end(paged: Session) -> None:
    assert await paged.run("x/2xg $sp") == "0000000000001ff8: 0x4847464544434241 0x504f4e4d4c4b4a49\n"


async def test_x_ends_where_nothing_is_mapped(paged: Session) -> None:
    assert (await paged.run("x/3xg 0x2ff8")).splitlines() == ["0000000000002ff8: Cannot access memory"]


async def test_xp_is_not_translated(paged: Session) -> None:
    assert await paged.run("xp/1xg $sp") == "0000000000001ff8: Cannot access memory\n"


async def test_gva2gpa_translates(paged: Session) -> None:
    assert await paged.run("gva2gpa $sp") == f"gpa: {PAGES + 0x3FF8:#x}\n"


async def test_gva2gpa_of_nothing_is_unmapped(paged: Session) -> None:
    assert await paged.run("gva2gpa 0x3000") == "Unmapped\n"


async def test_info_mem_shows_what_is_mapped(paged: Session) -> None:
    rows = (await paged.run("info mem")).splitlines()

    assert rows[0].split() == ["vaddr", "paddr", "size", "attr"]
    assert [row.split() for row in rows[2:]] == [
        ["0000000000001000", f"{PAGES + 0x3000:016x}", "0000000000001000", "rw---ad"],
        ["0000000000002000", f"{PAGES:016x}", "0000000000001000", "r----ad"],
        ["0000000080000000", f"{RAM_BASE:016x}", "0000000040000000", "rwx--ad"],
    ]


async def test_info_mem_many_mappings_are_cut_off(paged: Session) -> None:
    paged.machine.memory.write(MIDDLE, entry(LOW, 1) * 512)
    paged.machine.memory.write(LOW, (entry(PAGES, 0xC3) + entry(PAGES, 0xC7)) * 256)

    text = await paged.run("info mem")

    assert text.endswith("(there are more than 10000 mappings)\n")


async def test_info_mem_tables_without_end_are_cut_off(paged: Session) -> None:
    paged.machine.memory.write(ROOT + 3 * 8, entry(MIDDLE, 1) * 100)
    paged.machine.memory.write(MIDDLE, entry(MIDDLE, 1) * 512)

    text = await paged.run("info mem")

    assert text.endswith("(there are more than 1024 page tables)\n")


async def test_memsave_writes_what_the_guest_sees(paged: Session, tmp_path: Path) -> None:
    assert await paged.run(f'memsave $sp 16 "{tmp_path}/out"') == ""
    assert (tmp_path / "out").read_bytes() == b"ABCDEFGHIJKLMNOP"


async def test_pmemsave_writes_physical_memory(paged: Session, tmp_path: Path) -> None:
    assert await paged.run(f'pmemsave {PAGES:#x} 4 "{tmp_path}/out"') == ""
    assert (tmp_path / "out").read_bytes() == b"IJKL"


async def test_info_registers_shows_them_by_both_names(paged: Session) -> None:
    text = await paged.run("info registers")

    assert text.startswith("\nCPU#0\n pc       00000000802000")
    assert " x0/zero  0000000000000000 x1/ra    " in text
    assert " x2/sp    0000000000001ff8 x3/gp    " in text
    assert f" satp     {8 << 60 | ROOT >> 12:016x}\n" in text
    assert " f28/ft8  0000000000000000 f29/ft9  0000000000000000 f30/ft10 0000000000000000 f31/ft11 " in text


async def test_info_registers_of_all_shows_each(session: Session) -> None:
    assert (await session.run("info registers -a")).count("CPU#") == 1


async def test_dump_guest_memory_writes_a_core(session: Session, tmp_path: Path) -> None:
    assert await session.run(f'dump-guest-memory "{tmp_path}/core"') == ""
    assert (tmp_path / "core").read_bytes()[:4] == b"\x7fELF"
    assert await session.run("info dump") == "Status: completed\n"


async def test_dump_guest_memory_part_needs_its_length(session: Session, tmp_path: Path) -> None:
    assert await session.run(f'dump-guest-memory "{tmp_path}/core" 1') == "Error: Parameter 'length' is missing\n"


async def test_sum_of_too_much_is_refused(session: Session) -> None:
    assert await session.run(f"sum {RAM_BASE:#x} 0x1000001") == "size must be 0 to 16777216\n"


async def test_sum_beyond_memory_is_refused(session: Session) -> None:
    assert await session.run("sum 0x80ffffff 2") == "0000000080ffffff: Cannot access memory\n"


async def test_info_mtree_lists_ram_and_devices(session: Session) -> None:
    text = await session.run("info mtree")

    assert "    0000000010000000-00000000100000ff (prio 0, i/o): serial0\n" in text
    assert "    0000000080000000-0000000080ffffff (prio 0, ram): ram\n" in text


async def test_machine_without_a_vcpu_has_its_ram(build: Build) -> None:
    session = Session(Control(await build(machine={"qtest": "unix:qtest.sock"})))

    assert await session.run(f"xp/1xw {RAM_BASE:#x}") == "0000000080000000: 0x00000000\n"
    assert await session.run("xp/1xw 0x10000000") == "0000000010000000: Cannot access memory\n"
    assert await session.run(f"x/1xw {RAM_BASE:#x}") == "No CPU\n"
    assert await session.run("info registers") == "No CPU\n"
    assert await session.run("p $pc") == 'unknown register\nTry "help p" for more information\n'
