# SPDX-License-Identifier: GPL-2.0-or-later
"""Shell: commands run by a shell at the other end of a console, each with its output and exit status.

A line with the command between two marks goes to the shell: ``echo MARK; command eval 'COMMAND'; echo MARK $?``
(``command``: or an error in its syntax would end the line). The terminal echoes it, so each mark is written in two
halves with an empty quotation between, which the shell joins: only what the shell has written has the whole mark. What
the command wrote is what lies between the marks, and whatever else writes to the console meanwhile (the kernel;
``dmesg -n 1`` keeps it quiet).
"""

from __future__ import annotations

import asyncio
import re
import shlex
from dataclasses import dataclass
from typing import Final

from asyncemu.api.console import Console
from asyncemu.errors import AsyncemuError

#: What a shell's prompt ends with, at the end of the output: of root, and of others. Behind it may be what is for the
#: terminal (ECMA-48, 5.4): busybox asks it for the cursor's place.
PROMPT: Final = re.compile(r"[#$] (?:\x1b\[[0-?]*[@-~])*\Z")

#: Bytes of a line to the shell: busybox edits lines up to 1023, and it is the shortest of those that guests have.
MAX_LINE: Final = 1000


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command did in the guest."""

    command: str
    #: Standard output and standard error as they came, lines ended by "\n", without the newlines at the end.
    output: str
    #: The exit status.
    status: int


class CommandFailed(AsyncemuError):
    """A command in the guest ended with a status other than 0."""

    def __init__(self, result: CommandResult) -> None:
        self.result = result
        last_line = result.output.rpartition("\n")[2]
        super().__init__(
            f"{result.command!r} ended with status {result.status}" + (f": {last_line}" if last_line else "")
        )


class Shell:
    """Any POSIX shell that has printed its prompt, or will. One command at a time; more wait for their turn."""

    def __init__(self, console: Console, prompt: re.Pattern[str] = PROMPT) -> None:
        self._console = console
        self._prompt = prompt
        self._ready = False
        self._count = 0
        self._turn = asyncio.Lock()

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Until the shell's first prompt. Raises ConsoleTimeout, ConsoleEnded."""
        if not self._ready:
            await self._console.expect(self._prompt, timeout)
            self._ready = True

    async def run(self, command: str, *, timeout: float | None = None, check: bool = True) -> CommandResult:
        """Run ``command``, which may have several lines; ``timeout`` in seconds is for the prompt, and for the command.

        Raises CommandFailed when it fails and ``check``; ValueError when it is longer than a terminal takes;
        ConsoleTimeout, ConsoleEnded.
        """
        async with self._turn:
            await self.wait_ready(timeout)
            self._count += 1
            # Short: each character goes through the guest's UART, and back again as its echo.
            mark = f"@{self._count}"
            line = f"echo @''{self._count}+;command eval {shlex.quote(command)};echo @''{self._count}- $?"
            if len(line.encode()) > MAX_LINE:
                raise ValueError(f"the command has {len(command)} characters; put it into a file in the guest")
            self._console.send_line(line)
            await self._console.expect(re.compile(re.escape(mark) + r"\+\r?\n"), timeout)
            ended = await self._console.expect(re.compile(r"(?s)\A(.*?)" + re.escape(mark) + r"- (\d+)\r?\n"), timeout)
            # What comes next is the prompt, which the next command needs not wait for: the terminal keeps its line.
            output = ended[1].replace("\r\n", "\n").rstrip("\n")
            result = CommandResult(command, output, int(ended[2]))
        if check and result.status:
            raise CommandFailed(result)
        return result
