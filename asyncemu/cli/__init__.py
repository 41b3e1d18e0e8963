# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: ``python -m asyncemu vm.toml`` and its sisters. One file a command.

A command's module has ``add_arguments(parser)`` and ``command(options) -> exit status``. ``program`` chooses.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status.

    0 the guest powered off or the user quit, 1 the guest panicked or failed, 2 the command line or the configuration is
    wrong, 130 interrupted by a signal. For the main thread: it handles the process's signals.
    """
    # Before the rest is imported: from here on a signal has the effect that is promised, however early it comes.
    from asyncemu.cli.interrupts import Interrupts

    interrupts = Interrupts()
    interrupts.install()
    from asyncemu.cli.program import run_program

    return run_program(arguments, interrupts)
