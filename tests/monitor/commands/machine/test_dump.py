# SPDX-License-Identifier: GPL-2.0-or-later
"""dump-guest-memory, held against readers of core files that we did not write."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from asyncemu.loop import AioContext
from asyncemu.machine.dump.guest_dump import DumpCompleted, DumpQueryResult
from asyncemu.monitor.descriptors import NamedDescriptors
from asyncemu.monitor.errors import QmpError
from tests.monitor.commands.machine.conftest import COUNT, Start

RAM = 0x8000_0000
SIZE = 16 << 20
#: A guest whose registers are known.
KNOWN = "li sp, 0x1122334455667788; li t6, -3; 1: j 1b"


def loads(path: Path) -> dict[int, bytes]:
    """The memory in a core file, by physical address."""
    with path.open("rb") as file:
        core = ELFFile(file)
        return {each["p_paddr"]: each.data() for each in core.iter_segments("PT_LOAD")}


async def test_dump_has_all_memory_at_physical_addresses(start: Start, tmp_path: Path) -> None:
    vm = await start()
    vm.machine.memory.write(RAM + 0x1234, b"in the middle")
    vm.machine.memory.write(RAM + SIZE - 3, b"end")

    await vm("dump-guest-memory", paging=False, protocol=f"file:{tmp_path}/core")

    assert loads(tmp_path / "core") == {RAM: vm.machine.ram.view.tobytes()}
    assert (tmp_path / "core").stat().st_mode & 0o777 == 0o600


async def test_dump_says_how_it_went(start: Start, tmp_path: Path) -> None:
    vm = await start()
    before = await vm("query-dump")

    await vm("dump-guest-memory", paging=False, protocol=f"file:{tmp_path}/core")

    assert before == {"status": "none", "completed": 0, "total": 0}
    assert await vm("query-dump") == {"status": "completed", "completed": SIZE, "total": SIZE}
    assert vm.occurred == [DumpCompleted(result=DumpQueryResult(status="completed", completed=SIZE, total=SIZE))]


async def test_dump_of_a_part_has_that_part(start: Start, tmp_path: Path) -> None:
    vm = await start()
    vm.machine.memory.write(RAM + 0x2000, b"part")

    await vm("dump-guest-memory", paging=False, protocol=f"file:{tmp_path}/core", begin=RAM + 0x2000, length=0x1001)

    assert loads(tmp_path / "core") == {RAM + 0x2000: b"part" + bytes(0x1001 - 4)}


async def test_dump_of_a_guest_that_runs_stops_it_meanwhile(start: Start, tmp_path: Path) -> None:
    vm = await start(COUNT)

    await vm("dump-guest-memory", paging=False, protocol=f"file:{tmp_path}/core")

    assert vm.events == ["RESUME", "STOP", "RESUME", "DUMP_COMPLETED"]
    assert (await vm("query-status"))["status"] == "running"


async def test_dump_detached_answers_at_once_and_bars_others(start: Start, tmp_path: Path) -> None:
    vm = await start()
    busy = ("GenericError", "There is a dump in process, please wait.")

    await vm("dump-guest-memory", paging=False, protocol=f"file:{tmp_path}/core", detach=True)
    status = await vm("query-dump")
    refusals = [
        await vm.refusal("dump-guest-memory", paging=False, protocol=f"file:{tmp_path}/core2"),
        await vm.refusal("cont"),
        await vm.refusal("stop"),
    ]
    await vm.machine.dump.wait()

    assert (status["status"], status["total"]) == ("active", SIZE)
    assert refusals == [busy] * 3
    assert loads(tmp_path / "core").keys() == {RAM}


async def test_dump_machine_that_ends_ends_the_dump_and_does_not_go_on(start: Start, tmp_path: Path) -> None:
    vm = await start(COUNT)
    await vm("dump-guest-memory", paging=False, protocol=f"file:{tmp_path}/core", detach=True)

    await vm.machine.close()

    assert (await vm("query-dump"))["status"] == "failed"
    assert vm.events == ["RESUME", "STOP", "DUMP_COMPLETED"]


@pytest.mark.skipif(not shutil.which("riscv64-linux-gnu-readelf"), reason="needs readelf for riscv64")
async def test_dump_readelf_finds_nothing_wrong(start: Start, tmp_path: Path) -> None:
    vm = await start()
    await vm("dump-guest-memory", paging=False, protocol=f"file:{tmp_path}/core")

    said = subprocess.run(
        ["riscv64-linux-gnu-readelf", "-hlnW", tmp_path / "core"], capture_output=True, text=True, timeout=60
    )

    assert said.stderr == ""
    for part in ("CORE (Core file)", "RISC-V", "NT_PRSTATUS (prstatus structure)", "0x1000000 0x1000000"):
        assert part in said.stdout


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gdb-multiarch"), reason="needs gdb-multiarch")
async def test_dump_gdb_reads_registers_and_memory(start: Start, tmp_path: Path) -> None:
    vm = await start(KNOWN)
    vm.machine.memory.write(RAM + 0x100, b"seen by gdb\0")
    cpu = vm.machine.vcpus[0]
    while (await cpu.run_on_cpu(cpu.cpu.registers))["t6"] != 2**64 - 3:
        pass
    await vm("dump-guest-memory", paging=False, protocol=f"file:{tmp_path}/core")

    commands = ["info registers sp t6", f"x/s {RAM + 0x100:#x}"]
    arguments = [part for each in commands for part in ("-ex", each)]
    said = subprocess.run(
        [
            "gdb-multiarch",
            "-nx",
            "-batch",
            "-ex",
            "set architecture riscv:rv64",
            "-ex",
            f"core {tmp_path}/core",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=100,
    ).stdout

    assert "0x1122334455667788" in said
    assert "0xfffffffffffffffd" in said
    assert "seen by gdb" in said


@pytest.mark.parametrize(
    ("arguments", "description"),
    [
        ({"protocol": "zz:"}, "Invalid parameter 'protocol'"),
        ({"protocol": "fd:9"}, "File descriptor named '9' has not been found"),
        ({"protocol": "file:/nonexistent/x"}, "Could not open '/nonexistent/x': No such file or directory"),
        ({"protocol": "file:a\0b"}, "Could not open 'a\0b': embedded null byte"),
        ({"begin": 5}, "Parameter 'length' is missing"),
        ({"length": 5}, "Parameter 'begin' is missing"),
        ({"begin": 5, "length": 3}, "dump: no guest memory to dump"),
        ({"begin": RAM, "length": -3}, "dump: no guest memory to dump"),
        ({"format": "kdump-zlib", "paging": True}, "kdump-compressed format doesn't support paging or filter"),
        ({"format": "kdump-zlib"}, "kdump-zlib is not available now"),
        ({"protocol": "file:/dev/full"}, "dump: failed to save memory: No space left on device"),
    ],
)
async def test_dump_that_can_t_be_made_is_refused(
    start: Start, tmp_path: Path, arguments: dict[str, Any], description: str
) -> None:
    vm = await start()

    said = await vm.refusal("dump-guest-memory", **{"paging": False, "protocol": f"file:{tmp_path}/core", **arguments})

    assert said == ("GenericError", description)
    assert not (tmp_path / "core").exists()


async def test_dump_that_fails_is_told(start: Start) -> None:
    vm = await start()

    await vm.refusal("dump-guest-memory", paging=False, protocol="file:/dev/full")

    assert vm.events == ["DUMP_COMPLETED"]
    assert (await vm("query-dump"))["status"] == "failed"


async def test_query_dump_guest_memory_capability_names_what_is_there(start: Start) -> None:
    vm = await start()

    assert await vm("query-dump-guest-memory-capability") == {"formats": ["elf"]}


class Holder:
    """A monitor whose client has handed over a descriptor."""

    id = "test"

    def __init__(self, context: AioContext) -> None:
        self.context = context
        self.descriptors = NamedDescriptors()

    async def take_descriptor(self) -> int | None:
        return None


async def test_dump_into_a_descriptor_of_the_client(start: Start, context: AioContext, tmp_path: Path) -> None:
    vm = await start()
    monitor = Holder(context)
    monitor.descriptors.keep("file", os.open(tmp_path / "core", os.O_WRONLY | os.O_CREAT))

    await vm.control.execute("dump-guest-memory", {"paging": False, "protocol": "fd:file"}, monitor)

    assert loads(tmp_path / "core").keys() == {RAM}


async def test_dump_into_a_descriptor_that_was_not_handed_over_is_refused(start: Start, context: AioContext) -> None:
    vm = await start()

    with pytest.raises(QmpError, match="File descriptor named 'file' has not been found"):
        await vm.control.execute("dump-guest-memory", {"paging": False, "protocol": "fd:file"}, Holder(context))
