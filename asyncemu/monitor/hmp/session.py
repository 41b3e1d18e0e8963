# SPDX-License-Identifier: GPL-2.0-or-later
"""Session: one user of the human monitor, who types lines and gets text.

A line is a command and its arguments. What comes back is what QEMU would print, newlines as "\\n". Output is bounded:
a command that prints more is ended there, and says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asyncemu.errors import AsyncemuError
from asyncemu.loop import home
from asyncemu.monitor.errors import explain
from asyncemu.monitor.hmp.arguments import Format, Situation
from asyncemu.monitor.hmp.scanner import LineFault, Scanner
from asyncemu.monitor.hmp.table import COMMANDS, INFO_COMMANDS, HmpCommand, in_order, load

if TYPE_CHECKING:
    from asyncemu.machine import Machine
    from asyncemu.monitor.control import Control
    from asyncemu.vcpu import VCpu

ResultT = TypeVar("ResultT")

#: Characters that one command may print: half a MiB of memory in bytes. Arbitrary.
OUTPUT_LIMIT: Final = 4 << 20


class _TooMuchOutput(AsyncemuError):
    """The command has printed OUTPUT_LIMIT characters."""


class Session:
    """Home: the machine's. ``history`` are the lines typed, oldest first; None: nobody keeps them."""

    def __init__(self, control: Control, history: Sequence[str] | None = None) -> None:
        load()
        self.context = control.context
        self.control = control
        self.machine: Machine = control.machine
        self.history = history
        #: The vCPU whose registers and addresses are meant; ``cpu`` changes it.
        self.cpu_index = 0
        self._format = Format(1, "x", 4)
        self._output: list[str] = []
        self._length = 0

    @home
    async def run(self, line: str) -> str:
        """Do what ``line`` says; what is printed. Raises nothing that a user can cause."""
        self._output.clear()
        self._length = 0
        try:
            await self._run(line)
        except _TooMuchOutput:
            self._output.append(f"\n(the output ends here: it has {OUTPUT_LIMIT} characters)\n")
        except AsyncemuError as error:
            self._output.append(f"Error: {explain(error)}\n")
        return "".join(self._output)

    async def _run(self, line: str) -> None:
        scanner = Scanner(line)
        found = self._find(scanner)
        if found is None:
            return
        typed, command = found
        try:
            registers = await self.registers() if "$" in line and self.vcpu is not None else {}
            situation = Situation(command.called, registers, self._format)
            arguments = command.parse(scanner, situation)
        except LineFault as fault:
            self.print(f'{fault}\nTry "help {typed}" for more information\n')
            return
        try:
            await command.function(self, **arguments)
        except LineFault as fault:
            self.print(f"{fault}\n")

    def _find(self, scanner: Scanner) -> tuple[str, HmpCommand] | None:
        """The command and its name as typed; None: there is nothing to run, and the user knows why."""
        scanner.skip_spaces()
        if not scanner.next:
            return None
        start = scanner.position
        name = scanner.take_name()
        command = COMMANDS.get(name)
        if command is None:
            self.print(f"unknown command: '{name}'\n")
            return None
        if name != "info":
            return name, command
        scanner.skip_spaces()
        if not scanner.next:
            self.print_help(INFO_COMMANDS)
            return None
        subject = scanner.take_name()
        command = INFO_COMMANDS.get(subject)
        if command is None:
            self.print(f"unknown command: '{scanner.line[start : scanner.position]}'\n")
            return None
        return f"info {subject}", command

    # ---- for commands

    @home
    def print(self, text: str) -> None:
        """Show ``text``."""
        room = OUTPUT_LIMIT - self._length
        self._output.append(text[:room])
        self._length += len(text)
        if len(text) > room:
            raise _TooMuchOutput("too much output")

    @home
    def print_help(self, table: dict[str, HmpCommand]) -> None:
        """Show all of a table."""
        for command in in_order(table):
            self.print(command.describe())

    @home
    async def qmp(self, name: str, arguments: Mapping[str, Any] | None = None, /, **more: Any) -> Any:
        """The result of a QMP command; arguments that are None are left out. Raises QmpError."""
        given = {**(arguments or {}), **{key.replace("_", "-"): value for key, value in more.items()}}
        return await self.control.execute(name, {key: value for key, value in given.items() if value is not None})

    @home
    async def say_refusal(self, doing: Awaitable[ResultT]) -> ResultT:
        """The result of ``doing``; what it refuses is shown as it is, without "Error: "."""
        try:
            return await doing
        except AsyncemuError as error:
            raise LineFault(str(error)) from error

    @property
    def vcpu(self) -> VCpu | None:
        """The vCPU that is meant; None: the machine has none."""
        vcpus = self.machine.vcpus
        return vcpus[self.cpu_index] if self.cpu_index < len(vcpus) else None

    @home
    async def registers(self) -> dict[str, int]:
        """The registers of the vCPU that is meant, by name. Raises LineFault when there is none."""
        return await registers_of(self.current_vcpu())

    @home
    def current_vcpu(self) -> VCpu:
        """``vcpu``, or LineFault."""
        vcpu = self.vcpu
        if vcpu is None:
            raise LineFault("No CPU")
        return vcpu


async def registers_of(vcpu: VCpu) -> dict[str, int]:
    """All registers, by name."""
    return await vcpu.run_on_cpu(vcpu.cpu.registers)
