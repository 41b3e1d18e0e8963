# SPDX-License-Identifier: GPL-2.0-or-later
"""Which command; and how its errors become lines for the user and an exit status."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, NoReturn

from asyncemu.cli.interrupts import Interrupts
from asyncemu.cli.standard_streams import open_standard_descriptors
from asyncemu.errors import AsyncemuError, ConfigError, ConfigErrors

#: A host's resource failed, or so did the guest.
FAILED: Final = 1
USAGE: Final = 2
#: What a shell shows for a program that SIGPIPE ended.
BROKEN_PIPE: Final = 141

#: Modules of this package, with their line of help. Only the one that is called is imported.
COMMANDS: Final = {
    "run": "boot the machine that a vm.toml describes (the default)",
    "check": "say what is wrong with a vm.toml, or what would be built from it",
    "devices": "list device models and back ends, or the options of one",
    "schema": "print the JSON schema of vm.toml, for editors",
    "new": "write a plug-in of your own: a package with options, tests and an example",
    "demo": "boot a small built-in guest",
    "img": "make, convert, check and look at disk images, with qemu-img's command line",
    "io": "read and write disk images, with qemu-io's command line",
    "nbd": "export disk images over the network, with qemu-nbd's command line",
    "trace": "summarize a trace that run --trace wrote: what took how long, who held a loop up",
}

_EPILOG: Final = """\
asyncemu COMMAND --help tells more. Exit status: 0 the guest powered off or the user quit
(Ctrl-A x), 1 the guest panicked or failed, 2 the command line or the configuration is
wrong, 130 interrupted by a signal.
"""


def run_program(arguments: Sequence[str] | None, interrupts: Interrupts) -> int:
    """Run the command that ``arguments`` (default: the process's) name; the exit status."""
    open_standard_descriptors()
    try:
        try:
            status = _run_command(list(sys.argv[1:] if arguments is None else arguments), interrupts)
            sys.stdout.flush()
        except* AsyncemuError as several:
            errors = list(_leaves(several))
            complain(errors)
            status = USAGE if any(isinstance(error, ConfigError) for error in errors) else FAILED
    except* BrokenPipeError:
        # Who reads our output has read enough. What is still buffered goes nowhere, and Python does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = BROKEN_PIPE
    return interrupts.conclude(status)


def _run_command(words: list[str], interrupts: Interrupts) -> int:
    if not words or words[0] in ("-h", "--help", "--version"):
        parser = _top_parser()
        parser.parse_args(words)
        parser.error("the name of a vm.toml, or a command, is missing")
    if words[0] not in COMMANDS:
        _refuse_misspelt_command(words[0])
        words.insert(0, "run")
    name = words.pop(0)
    module: Any = importlib.import_module(f"asyncemu.cli.{name}")
    parser = Parser(prog=f"asyncemu {name}", description=module.__doc__, formatter_class=_Formatter)
    module.add_arguments(parser)
    options = parser.parse_args(words)
    options.interrupts = interrupts
    status: int = module.command(options)
    return status


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of descriptions."""


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, and the nearest known option for an unknown one."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's. Raises ConfigError."""
        options, unknown = self.parse_known_args(args, namespace)
        for word in unknown:
            if word.startswith("-"):
                from asyncemu.spelling import nearest

                raise self._error(f"unknown option {word!r}", nearest(word, sorted(self._option_string_actions)))
            raise self._error(f"unexpected argument {word!r}")
        return options

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """After --help and --version. Flushed here, where a broken pipe has its handler."""
        sys.stdout.flush()
        super().exit(status, message)

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError."""
        raise self._error(message)

    def _error(self, problem: str, remedy: str = "") -> ConfigError:
        return ConfigError("command line", problem, remedy or f"see {self.prog} --help")


def _top_parser() -> Parser:
    from asyncemu import __version__

    commands = "\n".join(f"  {name:<9} {line}" for name, line in COMMANDS.items())
    parser = Parser(
        prog="asyncemu",
        usage="asyncemu vm.toml [--set KEY=VALUE]\n       asyncemu COMMAND [...]",
        description="A machine emulator whose heart is Python's own event loop.",
        epilog=f"commands:\n{commands}\n\n{_EPILOG}",
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"asyncemu {__version__}")
    return parser


def _refuse_misspelt_command(word: str) -> None:
    """``asyncemu chekc vm.toml`` is not about a file named chekc."""
    if word.startswith("-") or "." in word or os.sep in word or os.path.lexists(word):
        return
    from asyncemu.spelling import nearest

    raise ConfigError("command line", f"{word!r} is neither a command nor a file", nearest(word, list(COMMANDS)))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The single errors in a group."""
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    if isinstance(error, ConfigErrors):
        inner = error.errors
    if inner:
        for each in inner:
            yield from _leaves(each)
    else:
        yield error


def complain(errors: Sequence[BaseException]) -> None:
    """Tell the user, a line each."""
    for error in errors:
        try:
            print(f"asyncemu: {_one_line(str(error))}", file=sys.stderr)
        except OSError:
            # Nobody is there to hear it; nor will anybody be for what is still buffered, which would change the status.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            return


def _one_line(text: str) -> str:
    """``text`` with what would break the line, or steer the terminal, escaped: names of files may hold anything."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
