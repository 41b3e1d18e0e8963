# SPDX-License-Identifier: GPL-2.0-or-later
"""Command: one word of qemu-io's language; and how a command says that it has failed.

What a command prints goes to stdout, its failures mostly, too, as in qemu-io. Complaints about the words of its line go
to stderr, and so do errors of the block layer that come with a text of their own (ToolError).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from asyncemu.cli.tools.getopt_long import BadOption, OptionScanner

if TYPE_CHECKING:
    from asyncemu.cli.io.exerciser import Exerciser


class CommandFailed(Exception):
    """The command has failed; ``str``, when it is not empty, is a line for stdout."""


class BadUsage(CommandFailed):
    """Its words can't be taken: its synopsis is shown. ``str``, when it is not empty, is a line for stderr first."""


class Invocation:
    """One line: a command's name, as it was written, and the words behind it."""

    def __init__(self, words: Sequence[str]) -> None:
        self.name = words[0]
        self.words = list(words[1:])
        #: What is left behind the options, once ``options`` has been iterated over.
        self.rest: list[str] = []

    def options(self, letters: str) -> Iterator[tuple[str, str]]:
        """Pairs of a letter and its argument, as getopt(3) finds them. Raises BadUsage."""
        scanner = OptionScanner(self.words, letters, {})
        try:
            yield from scanner
        except BadOption as error:
            raise BadUsage(f"{self.name}: {error}") from error
        self.rest = scanner.rest

    def flags(self, letters: str) -> set[str]:
        """As ``options``, where none has an argument. Raises BadUsage."""
        return {letter for letter, _ in self.options(letters)}


class Command(NamedTuple):
    """What the table knows of one."""

    name: str
    run: Callable[[Exerciser, Invocation], Awaitable[None]]
    summary: str
    #: How its line goes on; None: it ends.
    arguments: str | None = None
    #: A further paragraph or two for ``help NAME``.
    help: str = ""
    #: Another, shorter name.
    alias: str = ""
    #: How many words, options included, may follow.
    least: int = 0
    most: int | None = 0
    #: Is an image needed?
    of_image: bool = True
    #: PERM_* that it needs.
    permissions: int = 0

    @property
    def synopsis(self) -> str:
        """``read [-q] off len -- reads ...``."""
        arguments = "" if self.arguments is None else f"{self.arguments} "
        return f"{self.name} {arguments}-- {self.summary}"
