# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m asyncemu io``, asyncemu-io: requests to a disk image, one by one, with qemu-io's command language.

    program.py      the command line                    exerciser.py    runs one line of commands
    lines.py        commands from the standard input    table.py        all commands
    command.py      what a command is                   opening.py      options to an open image
    numbers.py, buffers.py, results.py                  what commands have in common

The commands are in a module for each group: reading, writing, asynchronous, allocation, image, reopening, breakpoints,
process.
"""

from __future__ import annotations

from typing import NoReturn


def main(argv: list[str]) -> int:
    """Run; the exit status. ``argv[0]`` is the program's name. For the main thread."""
    from asyncemu.cli.io.program import run

    return run(argv)


def script() -> NoReturn:
    """The program asyncemu-io."""
    from asyncemu.cli.tools.startup import run_script

    run_script(main)
