# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m asyncemu img``, asyncemu-img: a disk image tool with qemu-img's command line. One file a command.

A command's module has ``SHORT`` and ``LONG``, its options as OptionScanner takes them, and
``command(argv) -> exit status``, with its own name as ``argv[0]``. ``program`` chooses.
"""

from __future__ import annotations

from typing import NoReturn


def main(argv: list[str]) -> int:
    """Run one command; the exit status. ``argv[0]`` is the program's name. For the main thread."""
    from asyncemu.cli.img.program import run

    return run(argv)


def script() -> NoReturn:
    """The program asyncemu-img."""
    from asyncemu.cli.tools.startup import run_script

    run_script(main)
