# SPDX-License-Identifier: GPL-2.0-or-later
"""QtestClient: the other end of a machine's qtest socket.

client = await QtestClient.connect(path)
assert await client.ask(ReadValue(0x1000_1000, 4)) == "0x0000000074726976"
await client.ask(ClockStep(1_000_000))
client.close()                             # and the machine ends
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from asyncemu.machine.qtest_commands import (
    ClockSet,
    ClockStep,
    Command,
    Endianness,
    Fill,
    Intercept,
    Read,
    ReadValue,
    Write,
    WriteValue,
)
from asyncemu.machine.qtest_protocol import MAX_LINE

_SUFFIXES: Final = {1: "b", 2: "w", 4: "l", 8: "q"}


def encode(command: Command) -> bytes:
    """The line that ``parse`` makes ``command`` of, with its end."""
    match command:
        case ClockStep(None):
            text = "clock_step"
        case ClockStep(ns):
            text = f"clock_step {ns}"
        case ClockSet(ns):
            text = f"clock_set {ns}"
        case ReadValue(address, size):
            text = f"read{_SUFFIXES[size]} {address:#x}"
        case WriteValue(address, size, value):
            text = f"write{_SUFFIXES[size]} {address:#x} {value:#x}"
        case Read(address, size, in_base64):
            text = f"{'b64read' if in_base64 else 'read'} {address:#x} {size:#x}"
        case Write(address, data):
            # As QEMU's own client does, one byte of data at least, whatever the size.
            text = f"write {address:#x} {len(data):#x} 0x{data.hex() or '00'}"
        case Fill(address, size, value):
            text = f"memset {address:#x} {size:#x} {value:#x}"
        case Endianness():
            text = "endianness"
        case Intercept(path, outputs):
            text = f"irq_intercept_{'out' if outputs else 'in'} {path}"
    return f"{text}\n".encode()


class QtestFailure(Exception):
    """The machine answered FAIL; the text is its reason."""


class QtestClient:
    """One command at a time. ``interrupts`` are (number, level), in the order in which they were told of."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.interrupts: list[tuple[int, bool]] = []

    @classmethod
    async def connect(cls, path: Path) -> QtestClient:
        """To the unix socket ``path``. Raises OSError."""
        return cls(*await asyncio.open_unix_connection(path, limit=MAX_LINE))

    async def ask(self, command: Command) -> str:
        """What follows OK in the answer. QtestFailure; EOFError when the machine has ended."""
        return await self.ask_line(encode(command))

    async def ask_line(self, request: bytes) -> str:
        """As ``ask``, for a line with its end."""
        self._writer.write(request)
        await self._writer.drain()
        while True:
            line = await self._line()
            word, _, rest = line.partition(" ")
            match word:
                case "IRQ":
                    self._interrupt(line)
                case "OK":
                    return rest
                case _:
                    raise QtestFailure(rest)

    async def wait_interrupt(self) -> tuple[int, bool]:
        """Take the first of ``interrupts``, or the next that comes. EOFError when the machine has ended."""
        if not self.interrupts:
            self._interrupt(await self._line())
        return self.interrupts.pop(0)

    async def read_value(self, address: int, size: int) -> int:
        """One access of 1, 2, 4 or 8 bytes."""
        return int(await self.ask(ReadValue(address, size)), 16)

    async def write_value(self, address: int, size: int, value: int) -> None:
        """One access of 1, 2, 4 or 8 bytes."""
        await self.ask(WriteValue(address, size, value))

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    def _interrupt(self, line: str) -> None:
        _, change, number = line.split()
        self.interrupts.append((int(number), change == "raise"))

    async def _line(self) -> str:
        line = await self._reader.readline()
        if not line:
            raise EOFError("the machine has hung up")
        return line.decode().rstrip("\n")
