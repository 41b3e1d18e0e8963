# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of io: an image, and the commands for it, from ``-c`` or from the standard input."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from asyncemu.cli.tools.failure import ToolError, fail
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT, REQUIRED_ARGUMENT, BadOption, OptionScanner
from asyncemu.cli.tools.report import complain, discard_output, name_program, program
from asyncemu.cli.tools.startup import ready_output
from asyncemu.errors import AsyncemuError

if TYPE_CHECKING:
    from asyncemu.cli.io.exerciser import Exerciser
    from asyncemu.cli.io.opening import OpenOptions, Target
    from asyncemu.cli.tools.runner import ToolSession

_SHORT: Final = "hVc:d:f:rsnCmki:t:T:U"
_LONG: Final = {
    "help": (NO_ARGUMENT, "h"),
    "version": (NO_ARGUMENT, "V"),
    "cmd": (REQUIRED_ARGUMENT, "c"),
    "format": (REQUIRED_ARGUMENT, "f"),
    "read-only": (NO_ARGUMENT, "r"),
    "snapshot": (NO_ARGUMENT, "s"),
    "nocache": (NO_ARGUMENT, "n"),
    "copy-on-read": (NO_ARGUMENT, "C"),
    "misalign": (NO_ARGUMENT, "m"),
    "native-aio": (NO_ARGUMENT, "k"),
    "aio": (REQUIRED_ARGUMENT, "i"),
    "discard": (REQUIRED_ARGUMENT, "d"),
    "cache": (REQUIRED_ARGUMENT, "t"),
    "trace": (REQUIRED_ARGUMENT, "T"),
    "force-share": (NO_ARGUMENT, "U"),
    "object": (REQUIRED_ARGUMENT, "object"),
    "image-opts": (NO_ARGUMENT, "image-opts"),
}


class _Plan:
    """What the command line asks for."""

    def __init__(self, options: OpenOptions) -> None:
        self.options = options
        self.format: str | None = None
        self.image_opts = False
        self.misaligned = False
        self.commands: list[str] = []
        self.file: str | None = None


def run(argv: list[str]) -> int:
    """Do what ``argv`` says; the exit status."""
    name_program(argv[0], "asyncemu-io")
    ready_output()
    try:
        return _run(argv[1:])
    except ToolError as error:
        return fail(error)


def _run(words: list[str]) -> int:
    from asyncemu.cli.io.opening import OpenOptions
    from asyncemu.cli.tools.objects import UserObjects, object_help

    plan = _Plan(OpenOptions())
    objects = UserObjects()
    scanner = OptionScanner(words, _SHORT, _LONG)
    try:
        for option, argument in scanner:
            match option:
                case "h":
                    _print_help()
                    return 0
                case "V":
                    from asyncemu.cli.io.usage import version

                    print(version(), end="")
                    return 0
                case "c":
                    plan.commands.append(argument)
                case "f":
                    plan.format = argument
                case "m":
                    plan.misaligned = True
                case "image-opts":
                    plan.image_opts = True
                case "object":
                    if object_help(argument):
                        return 0
                    objects.add(argument)
                case "T":
                    # Trace events of QEMU's, which ours are not. A script that sets them goes on.
                    pass
                case _:
                    plan.options.take(option, argument)
    except BadOption as error:
        complain(f"{program()}: {error}")
        _print_help()
        return 1
    if len(scanner.rest) > 1:
        _print_help()
        return 1
    if plan.image_opts and plan.format is not None:
        raise ToolError("--image-opts and -f are mutually exclusive")
    plan.file = scanner.rest[0] if scanner.rest else None
    from asyncemu.cli.tools.runner import run_tool

    async def main(session: ToolSession) -> int:
        return await _main(session, plan)

    return run_tool(main, objects)


async def _main(session: ToolSession, plan: _Plan) -> int:
    from asyncemu.cli.io.exerciser import Exerciser

    exerciser = Exerciser(session, misaligned=plan.misaligned)
    if plan.file is not None:
        from asyncemu.cli.io.opening import open_target

        exerciser.take(await open_target(session, _target(plan), plan.options))
    try:
        if plan.commands:
            good = True
            for line in plan.commands:
                good = await exerciser.execute(line) and good
                if exerciser.finished:
                    break
        else:
            good = await _execute_input(exerciser)
    finally:
        await _close(exerciser)
    return 0 if good else 1


async def _close(exerciser: Exerciser) -> None:
    """Close the image; what goes wrong then is told, and changes nothing, as in qemu-io."""
    try:
        await exerciser.close_image()
    except (AsyncemuError, OSError) as error:
        fail(error)


def _target(plan: _Plan) -> Target:
    from asyncemu.cli.io.opening import Target, spelled_out

    assert plan.file is not None
    if plan.image_opts:
        plan.options.text = spelled_out(plan.file)
        return Target(None)
    return Target(plan.file, plan.format)


async def _execute_input(exerciser: Exerciser) -> bool:
    """Run the lines of the standard input; were all good?"""
    from asyncemu.cli.io.lines import LineReader

    fd = sys.stdin.fileno()
    reader = LineReader(fd)
    good = True
    while not exerciser.finished:
        # Also for a script: those that drive the program by a pipe wait for it.
        try:
            sys.stdout.write(f"{program()}> ")
            sys.stdout.flush()
        except BrokenPipeError:
            discard_output()
        line = await reader.next_line()
        if line is None:
            if sys.stdin.isatty():
                print()
            break
        good = await exerciser.execute(line) and good
    return good


def _print_help() -> None:
    from asyncemu.cli.io.usage import usage

    print(usage(), end="")
