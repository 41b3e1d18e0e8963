# SPDX-License-Identifier: GPL-2.0-or-later
"""Which command; what stands before its name; and how its errors become lines and an exit status."""

from __future__ import annotations

import importlib
from typing import Any, Final

from asyncemu.cli.tools.failure import ToolError, fail
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT, REQUIRED_ARGUMENT, BadOption, OptionScanner
from asyncemu.cli.tools.report import name_program, program
from asyncemu.cli.tools.startup import ready_output

COMMANDS: Final = (
    "amend",
    "bench",
    "bitmap",
    "check",
    "commit",
    "compare",
    "convert",
    "create",
    "dd",
    "info",
    "map",
    "measure",
    "rebase",
    "resize",
    "snapshot",
)

_SHORT: Final = "+:hVT:"
_LONG: Final = {"help": (NO_ARGUMENT, "h"), "version": (NO_ARGUMENT, "V"), "trace": (REQUIRED_ARGUMENT, "T")}


def run(argv: list[str]) -> int:
    """Run the command that ``argv`` names; the exit status."""
    name_program(argv[0], "asyncemu-img")
    ready_output()
    try:
        return _run(argv)
    except ToolError as error:
        return fail(error)


def usage_error(message: str) -> ToolError:
    """A command line that can't be taken."""
    return ToolError(message, hint=f"Try '{program()} --help' for more information")


def bad_option(error: BadOption) -> ToolError:
    """qemu-img's words for it, which are not the C library's."""
    what = "missing argument for option" if error.missing else "unrecognized option"
    return usage_error(f"{what} '{error.word}'")


def _run(argv: list[str]) -> int:
    if len(argv) < 2:
        raise usage_error("Not enough arguments")
    scanner = OptionScanner(argv[1:], _SHORT, _LONG, argv[0])
    try:
        for option, _ in scanner:
            if option == "h":
                from asyncemu.cli.img.help import print_help

                print_help()
                return 0
            if option == "V":
                from asyncemu.cli.img.help import print_version

                print_version()
                return 0
            # -T: trace events of QEMU's, which ours are not. A script that sets them goes on.
    except BadOption as error:
        raise bad_option(error) from error
    rest = scanner.rest
    if not rest:
        raise usage_error("Not enough arguments")
    name = rest[0]
    if name not in COMMANDS:
        raise usage_error(f"Command not found: {name}")
    # "map" and "dd" are no names to shadow: the modules have the command's name behind the package's.
    module: Any = importlib.import_module(f"asyncemu.cli.img.{name}")
    status: int = module.command(rest)
    return status
