# SPDX-License-Identifier: GPL-2.0-or-later
"""Words of the tools' command lines: options as getopt_long finds them, sizes and numbers, what asyncemu-nbd takes.

    1 byte    which; the rest is the words, with zero bytes between

May be raised inside: ToolError, Stop and BadOption of the parsers, CommandFailed of the I/O tool, NotASize and
SizeOutOfRange of sizes. Nothing is opened.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Final

from asyncemu.cli.img.options import FORCE_SHARE, FORMAT, IMAGE_OPTS, OUTPUT, cache_mode, output_is_json
from asyncemu.cli.io.command import CommandFailed
from asyncemu.cli.io.numbers import pattern_byte, request_length, vector_lengths
from asyncemu.cli.nbd.command_line import Stop, check, check_tls, parse
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import BadOption, OptionScanner
from asyncemu.cli.tools.numbers import c_number
from asyncemu.cli.tools.sizes import NotASize, SizeOutOfRange, parse_size, size_argument
from asyncemu.size import human_size
from fuzz.choices import Choices
from fuzz.driving import Defect

_LONG: Final = {**FORCE_SHARE, **FORMAT, **IMAGE_OPTS, **OUTPUT}


def fuzz_one(data: bytes) -> None:
    """Take the words in."""
    choices = Choices(data)
    take = choices.of(_WAYS)
    words = choices.rest().decode("utf-8", "surrogateescape").split("\0")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        take(words)


def _getopt(words: Sequence[str]) -> None:
    scanner = OptionScanner(words, "hf:r::qU", _LONG)
    count = 0
    try:
        for _ in scanner:
            count += 1
            # Each option takes a character at least.
            if count > sum(map(len, words)):
                raise Defect("more options than characters")
    except BadOption as error:
        str(error)
        return
    if not set(scanner.rest) <= set(words):
        raise Defect(f"{scanner.rest} were not among the words")


def _nbd(words: Sequence[str]) -> None:
    try:
        settings = parse(words)
        check(settings)
        check_tls(settings)
    except (ToolError, Stop):
        return


def _sizes(words: Sequence[str]) -> None:
    for word in words:
        try:
            size = parse_size(word)
        except (NotASize, SizeOutOfRange):
            continue
        human_size(size)
        if parse_size(str(size)) != size:
            raise Defect(f"{size} is read as another size")
    for word in words:
        with contextlib.suppress(ToolError):
            size_argument("image size", word)


def _numbers(words: Sequence[str]) -> None:
    for word in words:
        c_number(word)
        for take in (pattern_byte, request_length):
            with contextlib.suppress(CommandFailed):
                take(word)
        for choose in (cache_mode, output_is_json):
            with contextlib.suppress(ToolError):
                choose(word)
    with contextlib.suppress(CommandFailed):
        vector_lengths(list(words))


_WAYS: Final[tuple[Callable[[Sequence[str]], None], ...]] = (_getopt, _nbd, _sizes, _numbers)


def seeds() -> Sequence[bytes]:
    """Command lines, and numbers of all sorts."""
    return [
        b"\0-qfraw\0a\0--output=json\0--im\0--\0-U",
        b"\1-t\0-k\0/s\0--shared=3\0-x\0e\0-o\0" + b"1k\0disk.img",
        b"\1--tls-creds\0t\0--object\0secret,id=t,data=x\0disk.img",
        b"\1--list\0-p\0" + b"10809\0-b\0::1",
        b"\2" + b"1\0001.5k\0000x10\0009E\0 +1.999999999999999G\00016EB\0001e3",
        b"\3" + b"0xab\000017\0-1\0writeback\0json\0001M\0002147483136",
    ]
