# SPDX-License-Identifier: GPL-2.0-or-later
"""A hart with RAM and nothing else, and an assembler for what it runs."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from asyncemu.loop import AioContext, Clocks
from asyncemu.memory import AddressSpace, GuestRam
from asyncemu.vcpu import VCpu
from asyncemu.vcpu.sbi import Sbi
from asyncemu.vcpu.tcg.exact_stop import StopMethod
from asyncemu.vcpu.tcg.riscv import RiscvCpu

BASE = 0x8000_0000
RAM_SIZE = 1 << 20
#: Where programs leave results, by convention of the tests.
RESULT = BASE + 0x8000


@functools.cache
def assemble(source: str) -> bytes:
    """RISC-V assembly to a flat binary for BASE."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        (path / "program.S").write_text(f".option norelax\n.globl _start\n_start:\n{source}\n")
        tool = "riscv64-linux-gnu-"
        subprocess.run([f"{tool}as", "-march=rv64gc", "-o", path / "o", path / "program.S"], check=True)
        subprocess.run([f"{tool}ld", f"-Ttext={BASE:#x}", "-o", path / "elf", path / "o"], check=True)
        subprocess.run([f"{tool}objcopy", "-O", "binary", path / "elf", path / "bin"], check=True)
        return (path / "bin").read_bytes()


class FakePlatform:
    """The machine as SBI sees it: remembers what it is asked for."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.input = bytearray()
        self.requests: list[str] = []
        #: Bytes that the console takes at a time.
        self.room = 1 << 20

    def console_write(self, data: bytes) -> int:
        self.output += data[: self.room]
        return len(data[: self.room])

    def console_read(self, limit: int) -> bytes:
        data = bytes(self.input[:limit])
        del self.input[:limit]
        return data

    def request_shutdown(self, failed: bool) -> None:
        self.requests.append("failure" if failed else "shutdown")

    def request_reset(self) -> None:
        self.requests.append("reset")


class Hart:
    """One hart that runs ``program`` from BASE on; in M-mode when ``firmware``, else in S-mode over our SBI."""

    def __init__(
        self,
        context: AioContext,
        program: bytes,
        *,
        firmware: bool = False,
        method: StopMethod | None = None,
        prepare: Callable[[AddressSpace], None] = lambda memory: None,
    ) -> None:
        self.context = context
        self.clocks = Clocks()
        self.memory = AddressSpace()
        self.ram = GuestRam(RAM_SIZE)
        self.memory.add_ram(BASE, self.ram)
        prepare(self.memory)
        self.ram.view[: len(program)] = program
        self.platform = FakePlatform()
        self.sbi = None if firmware else Sbi(self.platform, self.memory)
        self.cpu = RiscvCpu(self.memory, self.clocks.virtual, BASE, {}, sbi=self.sbi, method=method)
        self.faults: list[BaseException] = []
        self.vcpu = VCpu(self.cpu, context, self.clocks.virtual, "hart", self.faults.append)
        self.vcpu.start()

    def run(self) -> None:
        """Let it run."""
        self.clocks.run_virtual(True)
        self.cpu.clock_changed()
        self.vcpu.resume()

    async def pause(self) -> None:
        """Stop it, and its clock."""
        await self.vcpu.pause()
        self.clocks.run_virtual(False)

    async def close(self) -> None:
        """End the thread."""
        await self.vcpu.stop()
        self.ram.close()

    def word(self, address: int = RESULT) -> int:
        """64 bits of RAM."""
        return int.from_bytes(self.memory.read(address, 8), "little")

    def set_word(self, address: int, value: int) -> None:
        """Write 64 bits of RAM as the host does, with no device's announcement."""
        self.memory.view(address, 8)[:] = value.to_bytes(8, "little")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until ``condition`` holds: what the guest does can't be awaited."""
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0)

    async def until_fault(self) -> BaseException:
        """Wait until the vCPU has reported a fault, and return it."""
        await self.until(lambda: bool(self.faults))
        return self.faults[0]
