# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of a command line as getopt_long(3) of the GNU C library finds them, messages included.

Options may be abbreviated, may be behind or between the other arguments (which come behind them then), and end at
``--``. What is wrong shows at its place: options before it have had their effect, ``--help`` for one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

#: Does a long option have an argument?
NO_ARGUMENT: Final = 0
REQUIRED_ARGUMENT: Final = 1
OPTIONAL_ARGUMENT: Final = 2


class BadOption(Exception):
    """An option that can't be taken. ``str`` is what the C library says, without the program's name."""

    def __init__(self, message: str, word: str, *, missing: bool = False) -> None:
        super().__init__(message)
        #: The argument that was looked at last (``argv[optind - 1]``): what qemu-img names in its messages.
        self.word = word
        #: The option's argument is what is missing.
        self.missing = missing


class OptionScanner:
    """Iterate for pairs ``(name, argument)``; ``rest`` is what is left behind the last one.

    ``short`` is getopt(3)'s string (``"hf:r::"``); with a leading ``+`` options end at the first other argument.
    ``long`` maps names to how they take an argument and to the name that is reported: ``{"output": (1, "output")}``, or
    the letter of the short option that means the same. ``argument_zero`` is what stands before ``words``.
    """

    def __init__(
        self, words: Sequence[str], short: str, long: Mapping[str, tuple[int, str]], argument_zero: str = ""
    ) -> None:
        self._argument_zero = argument_zero
        self._words = list(words)
        self._in_order = short.startswith("+") or "POSIXLY_CORRECT" in os.environ
        self._short = short.lstrip("+:")
        self._long = long
        #: What is looked at next.
        self._index = 0
        #: The rest of a group of short options.
        self._group = ""
        # Arguments that were passed over are moved behind the options that follow them: [first, last).
        self._first_other = 0
        self._last_other = 0

    @property
    def rest(self) -> list[str]:
        """The other arguments, once the options have been iterated over."""
        return self._words[self._index :]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self

    def __next__(self) -> tuple[str, str]:
        """Raises BadOption."""
        if not self._group:
            self._advance()
            word = self._words[self._index]
            if word.startswith("--"):
                return self._take_long(word[2:])
            self._group = word[1:]
        return self._take_short()

    def _advance(self) -> None:
        """To the next option. StopIteration: there is none."""
        words = self._words
        self._permute()
        if not self._in_order:
            while self._index < len(words) and _is_other(words[self._index]):
                self._index += 1
            self._last_other = self._index
        if self._index < len(words) and words[self._index] == "--":
            self._index += 1
            self._permute()
            self._last_other = self._index = len(words)
        if self._index == len(words):
            self._index = self._first_other if self._first_other != self._last_other else self._index
            raise StopIteration
        if _is_other(words[self._index]):
            raise StopIteration

    def _permute(self) -> None:
        """Move what was passed over behind the options that were found since."""
        first, last, index = self._first_other, self._last_other, self._index
        if first != last and last != index:
            self._words[first:index] = self._words[last:index] + self._words[first:last]
            self._first_other, self._last_other = first + index - last, index
        elif last != index:
            self._first_other = self._last_other = index

    def _take_long(self, text: str) -> tuple[str, str]:
        self._index += 1
        name, equals, argument = text.partition("=")
        known = self._long.get(name)
        if known is None:
            name, known = self._abbreviated(name, text)
        takes, reported = known
        if equals:
            if takes == NO_ARGUMENT:
                raise self._bad(f"option '--{name}' doesn't allow an argument")
        elif takes == REQUIRED_ARGUMENT:
            if self._index == len(self._words):
                raise self._bad(f"option '--{name}' requires an argument", missing=True)
            argument = self._words[self._index]
            self._index += 1
        return reported, argument

    def _abbreviated(self, start: str, text: str) -> tuple[str, tuple[int, str]]:
        matches = [each for each in self._long.items() if each[0].startswith(start)]
        if not matches:
            raise self._bad(f"unrecognized option '--{text}'")
        if len({known for _, known in matches}) > 1:
            names = " ".join(f"'--{name}'" for name, _ in matches)
            raise self._bad(f"option '--{text}' is ambiguous; possibilities: {names}")
        return matches[0]

    def _take_short(self) -> tuple[str, str]:
        letter, self._group = self._group[0], self._group[1:]
        if not self._group:
            self._index += 1
        at = self._short.find(letter)
        if at < 0 or letter in ":;":
            raise self._bad(f"invalid option -- '{letter}'")
        takes = self._short[at + 1 : at + 3]
        if not takes.startswith(":"):
            return letter, ""
        argument, self._group = self._group, ""
        if argument:
            self._index += 1
        elif takes != "::":
            if self._index == len(self._words):
                raise self._bad(f"option requires an argument -- '{letter}'", missing=True)
            argument = self._words[self._index]
            self._index += 1
        return letter, argument

    def _bad(self, message: str, *, missing: bool = False) -> BadOption:
        return BadOption(message, self._words[self._index - 1] if self._index else self._argument_zero, missing=missing)


def _is_other(word: str) -> bool:
    return len(word) < 2 or word[0] != "-"
