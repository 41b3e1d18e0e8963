# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m asyncemu nbd``, asyncemu-nbd: a disk image for NBD clients, with qemu-nbd's command line.

program.py       which of the things that it does    command_line.py  from words to settings
serving.py       the server                          exported.py      the image that it offers
whole_sectors.py what ends within a sector           listing.py       ``--list``
daemon.py        processes, and what they inherit
tls.py           credentials and who may come        usage.py         ``--help``
"""

from __future__ import annotations

from typing import NoReturn


def main(argv: list[str]) -> int:
    """Run; the exit status. ``argv[0]`` is the program's name. For the main thread."""
    from asyncemu.cli.nbd.program import run

    return run(argv)


def script() -> NoReturn:
    """The program asyncemu-nbd."""
    from asyncemu.cli.tools.startup import run_script

    run_script(main)
