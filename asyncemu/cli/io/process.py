# SPDX-License-Identifier: GPL-2.0-or-later
"""abort, sigraise, sleep, quit, help."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from asyncemu.cli.io.command import CommandFailed, Invocation
from asyncemu.cli.io.numbers import number_of_bytes
from asyncemu.cli.tools.numbers import c_number

if TYPE_CHECKING:
    from asyncemu.cli.io.exerciser import Exerciser


async def abort(exerciser: Exerciser, line: Invocation) -> None:
    """Die, with all that is buffered: that is what it is for."""
    os.abort()


async def sigraise(exerciser: Exerciser, line: Invocation) -> None:
    """Send this process a signal."""
    (word,) = line.words
    number = number_of_bytes(word)
    # The C library's NSIG is one more than the last signal.
    if number > signal.NSIG:
        raise CommandFailed(f"signal argument '{word}' is too large to be a valid signal")
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        signal.raise_signal(number)
    except (OSError, ValueError):
        # 0 and NSIG are accepted and do nothing, as in qemu-io, which does not look at what raise(3) returns.
        pass


async def sleep(exerciser: Exerciser, line: Invocation) -> None:
    """Let requests go on for so many milliseconds."""
    (word,) = line.words
    milliseconds = c_number(word)
    if milliseconds is None or milliseconds < 0:
        raise CommandFailed(f"{word} is not a valid number")
    await asyncio.sleep(milliseconds / 1000)


async def leave(exerciser: Exerciser, line: Invocation) -> None:
    """No further command."""
    exerciser.finished = True


async def tell(exerciser: Exerciser, line: Invocation) -> None:
    """All commands, or one of them."""
    from asyncemu.cli.io.table import COMMANDS, find_command

    if not line.words:
        for command in COMMANDS:
            print(command.synopsis)
        print("\nUse 'help commandname' for extended help.")
        return
    found = find_command(line.words[0])
    if found is None:
        raise CommandFailed(f"command {line.words[0]} not found")
    print(found.synopsis)
    if found.help:
        print(f"\n{found.help}")
