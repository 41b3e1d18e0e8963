# SPDX-License-Identifier: GPL-2.0-or-later
"""Which command; and what a signal or an error does to the process.

Exit status: 0 the guest powered off (or the user quit), 1 the guest panicked or failed, 2 the command line or the
configuration is wrong, 130 interrupted by a signal.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
USAGE: Final = 2

COMMANDS: Final = ("run", "check", "devices", "schema", "demo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    # First of all: from here on a signal ends the process with the status that is promised, however early it comes.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupted)
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        words.insert(0, "run")
    options = make_parser().parse_args(words)
    from asyncemu.errors import AsyncemuError

    try:
        status: int = options.command(options)
    except AsyncemuError as error:
        for line in str(error).splitlines():
            print(f"asyncemu: {line}", file=sys.stderr)
        return USAGE
    return status


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise SystemExit(INTERRUPTED)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each command's module adds its own part."""
    from asyncemu.cli import check, demo, devices, run, schema

    parser = argparse.ArgumentParser(prog="asyncemu", description="A machine emulator on Python's event loop.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (run, check, devices, schema, demo):
        command.add_parser(commands)
    return parser
