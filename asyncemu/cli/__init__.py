# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: ``python -m asyncemu vm.toml`` and its sisters. One file a command.

A command's module has ``add_arguments(parser)`` and ``command(options) -> exit status``. ``program`` chooses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

__all__ = ["main"]

#: Disk image tools with the command lines of QEMU's, in packages of their own.
TOOLS: Final = ("img", "io", "nbd")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status.

    0 the guest powered off or the user quit, 1 the guest panicked or failed, 2 the command line or the configuration is
    wrong, 130 interrupted by a signal. For the main thread: it handles the process's signals.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] in TOOLS:
        # They have exit statuses and ways with signals of their own, and are to start fast.
        return run_tool_command(words, own_process=arguments is None)
    # Before the rest is imported: from here on a signal has the effect that is promised, however early it comes.
    from asyncemu.cli.interrupts import Interrupts

    interrupts = Interrupts()
    interrupts.install()
    from asyncemu.cli.program import run_program

    return run_program(arguments, interrupts)


def run_tool_command(words: Sequence[str], *, own_process: bool) -> int:
    """``asyncemu img ...``: as the program asyncemu-img. ``own_process``: nobody else lives in this process."""
    import importlib
    from typing import Any

    if own_process:
        from asyncemu.cli.tools.startup import prepare_process

        prepare_process()
    tool: Any = importlib.import_module(f"asyncemu.cli.{words[0]}")
    status: int = tool.main([f"asyncemu-{words[0]}", *words[1:]])
    return status
