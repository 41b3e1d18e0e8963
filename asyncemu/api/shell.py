# SPDX-License-Identifier: GPL-2.0-or-later
"""Shell: commands run by a shell at the other end of a console, each with its output and exit status.

When the shell has printed its prompt, it is told to obey lines without a prompt, an editor or an echo (``_LOOP``), as
each character that it says about a line costs the guest's UART and a round through its kernel. A line ``@7 COMMAND``
makes it print ``@7+``, what the command prints, and ``@7- STATUS``. What lies between the marks is the result, with
whatever else writes to the console meanwhile (the kernel; ``dmesg -n 1`` keeps it quiet). Other lines (of
``console.send_line``) are plain commands. ``release`` gives the prompt back.
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

#: Bytes of a line: a terminal's are 4095 long at most (Linux: N_TTY_BUF_SIZE), with the newline.
MAX_LINE: Final = 4094

#: ``command eval``: or an error in a command's syntax would end the loop (POSIX, 2.8.1). The first word that is printed
#: is made of two halves, so that its echo is not taken for it.
_LOOP: Final = (
    'stty -echo;echo "@"ready;while IFS= read -r asyncemu;do case $asyncemu in '
    '@*)echo "${asyncemu%% *}+";command eval "${asyncemu#* }";echo "${asyncemu%% *}- $?";;'
    '*)eval "$asyncemu";;esac;done;stty echo'
)
_READY: Final = re.compile(r"@ready\r?\n")


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

    async def run(self, command: str, *, timeout: float | None = None, check: bool = True) -> CommandResult:
        """Run ``command``, which may have several lines; ``timeout`` in seconds is for the prompt, and for the command.

        Raises CommandFailed when it fails and ``check``; ValueError when it is longer than a terminal takes;
        ConsoleTimeout, ConsoleEnded.
        """
        self._count += 1
        mark = f"@{self._count}"
        line = f"{mark} {_one_line(command)}"
        if len(line.encode()) > MAX_LINE:
            raise ValueError(f"the command has {len(command)} characters; put it into a file in the guest")
        async with self._turn:
            await self._get_ready(timeout)
            self._console.send_line(line)
            await self._console.expect(re.compile(mark + r"\+\r?\n"), timeout)
            ended = await self._console.expect(re.compile(rf"(?s)\A(.*?){mark}- (\d+)\r?\n"), timeout)
        result = CommandResult(command, ended[1].replace("\r\n", "\n").rstrip("\n"), int(ended[2]))
        if check and result.status:
            raise CommandFailed(result)
        return result

    async def release(self, timeout: float | None = None) -> None:
        """Have the shell greet with its prompt and echo again, for a person, or for ``console.expect``.

        Raises ConsoleTimeout, ConsoleEnded.
        """
        async with self._turn:
            if self._ready:
                self._ready = False
                self._console.send_line("break")
            await self._console.expect(self._prompt, timeout)
            # It is still there for the next command.
            self._console.send_line()

    async def _get_ready(self, timeout: float | None) -> None:
        if not self._ready:
            await self._console.expect(self._prompt, timeout)
            self._console.send_line(_LOOP)
            await self._console.expect(_READY, timeout)
            self._ready = True


def _one_line(command: str) -> str:
    if "\n" not in command:
        return command
    # printf's %b (POSIX, printf) makes the lines again.
    quoted = shlex.quote(command.replace("\\", "\\\\").replace("\n", "\\n"))
    return f"eval \"$(printf '%b' {quoted})\""
