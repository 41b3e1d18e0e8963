# SPDX-License-Identifier: GPL-2.0-or-later
"""memsave and pmemsave."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from tests.machine.conftest import Make
from tests.monitor.commands.machine.conftest import Start

RAM = 0x8000_0000
#: The guest maps the page at 0x8040_1000 at 0xffff_ffc0_0000_2000 (Sv39) and waits.
PAGED = """
    li t0, 0x8000000000080410
    csrw satp, t0
    sfence.vma
    1: j 1b
"""
ROOT, MIDDLE, LEAVES, PAGE = 0x8041_0000, 0x8041_1000, 0x8041_2000, 0x8040_1000


async def test_query_memory_size_summary_is_the_ram(start: Start) -> None:
    vm = await start(machine={"memory": "24MiB"})

    assert await vm("query-memory-size-summary") == {"base-memory": 24 << 20}
    assert await vm("query-memory-devices") == []


async def test_pmemsave_writes_physical_memory(start: Start, tmp_path: Path) -> None:
    vm = await start()
    vm.machine.memory.write(RAM + 5, b"hello")

    await vm("pmemsave", val=RAM + 4, size=3 << 20, filename=str(tmp_path / "out"))

    assert (tmp_path / "out").read_bytes() == b"\0hello" + bytes((3 << 20) - 6)


async def test_memsave_unpaged_hart_is_physical_memory(start: Start, tmp_path: Path) -> None:
    vm = await start()
    vm.machine.memory.write(RAM, b"0123456789")

    await vm("memsave", val=RAM + 1, size=4, filename=str(tmp_path / "out"))

    assert (tmp_path / "out").read_bytes() == b"1234"


async def test_memsave_paged_hart_goes_through_its_page_tables(start: Start, tmp_path: Path) -> None:
    vm = await start(machine={"memory": "16MiB"})
    memory = vm.machine.memory
    memory.write(ROOT + 8 * 0x100, struct.pack("<Q", MIDDLE >> 2 | 1))
    memory.write(MIDDLE, struct.pack("<Q", LEAVES >> 2 | 1))
    memory.write(LEAVES + 16, struct.pack("<Q", PAGE >> 2 | 0xCF))
    memory.write(PAGE + 0x800, b"through the tables")
    registers = await vm.machine.vcpus[0].run_on_cpu(vm.machine.vcpus[0].cpu.registers)
    vm.machine.vcpus[0].cpu.registers = lambda: {**registers, "satp": 8 << 60 | ROOT >> 12, "priv": 1}  # type: ignore[method-assign]

    await vm("memsave", val=0xFFFF_FFC0_0000_2800, size=18, filename=str(tmp_path / "out"))

    assert (tmp_path / "out").read_bytes() == b"through the tables"


@pytest.mark.parametrize(
    ("command", "arguments", "description"),
    [
        ("memsave", {"val": 0x10, "size": 16}, "Invalid addr 0x0000000000000010/size 16 specified"),
        ("memsave", {"val": RAM, "size": 1 << 40}, "Invalid addr 0x0000000080000000/size 1099511627776 specified"),
        ("memsave", {"val": RAM, "size": 16, "cpu_index": 7}, "Parameter 'cpu-index' expects a CPU number"),
        ("memsave", {"val": RAM, "size": -1}, "Invalid addr 0x0000000080000000/size -1 specified"),
        ("pmemsave", {"val": RAM, "size": -1}, "Invalid addr 0x0000000080000000/size -1 specified"),
        ("pmemsave", {"val": -8, "size": 8}, "Invalid addr 0xfffffffffffffff8/size 8 specified"),
    ],
)
async def test_save_of_what_is_no_memory_is_refused(
    start: Start, tmp_path: Path, command: str, arguments: dict[str, Any], description: str
) -> None:
    vm = await start()

    assert await vm.refusal(command, **arguments, filename=str(tmp_path / "out")) == ("GenericError", description)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("filename", "description"),
    [
        ("/nonexistent/x", "Could not open '/nonexistent/x': No such file or directory"),
        ("a\0b", "Could not open 'a\0b': embedded null byte"),
        ("/dev/full", "writing memory to '/dev/full' failed: No space left on device"),
    ],
)
async def test_save_to_what_can_t_be_written_is_refused(start: Start, filename: str, description: str) -> None:
    vm = await start()

    assert await vm.refusal("pmemsave", val=RAM, size=16, filename=filename) == ("GenericError", description)


async def test_memsave_machine_without_vcpu_is_refused(make: Make, start: Start, tmp_path: Path) -> None:
    vm = await start(machine={"qtest": f"unix:{tmp_path}/qtest.sock"})

    assert await vm.refusal("memsave", val=RAM, size=1, filename=str(tmp_path / "out")) == (
        "GenericError",
        "Parameter 'cpu-index' expects a CPU number",
    )
