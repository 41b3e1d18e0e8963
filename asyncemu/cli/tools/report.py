# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines on stderr, as QEMU's tools write them: ``qemu-img: message``. The program's name is what it was called by."""

from __future__ import annotations

import os
import sys

#: Set once by ``name_program``. One process is one tool.
_program = "asyncemu"


def name_program(argument_zero: str, tool: str) -> str:
    """What messages begin with from now on: the base name of ``argv[0]``; a symbolic link named qemu-img is qemu-img.

    ``tool`` is the name when there is none in ``argv[0]``: ``python -m asyncemu img``.
    """
    global _program
    base = argument_zero.rpartition("/")[2]
    _program = tool if base in ("", "-c", "-m", "__main__.py", "asyncemu") else base
    return _program


def program() -> str:
    """The name of the program."""
    return _program


def report(message: str) -> None:
    """One message with the program's name before it."""
    complain(f"{_program}: {message}")


def warn(message: str) -> None:
    """A warning."""
    report(f"warning: {message}")


def complain(line: str, end: str = "\n") -> None:
    """A line on stderr, behind what stdout has so far. Nobody may be there to read it."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        discard_output()
    try:
        sys.stderr.write(line + end)
        sys.stderr.flush()
    except OSError:
        pass


def discard_output() -> None:
    """Who has read our output has read enough: what is still buffered goes nowhere, and nobody complains.

    QEMU's tools ignore SIGPIPE and don't look whether printf(3) succeeds.
    """
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        sys.stdout.flush()
    except (OSError, ValueError):
        pass
