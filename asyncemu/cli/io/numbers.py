# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers in the words of commands: bytes as ``512``, ``0x200``, ``1.5k``; patterns and milliseconds as in C.

All raise CommandFailed with qemu-io's message.
"""

from __future__ import annotations

from typing import Final

from asyncemu.cli.io.command import CommandFailed
from asyncemu.cli.tools.numbers import c_number
from asyncemu.cli.tools.sizes import INT64_MAX, NotASize, SizeOutOfRange, parse_size

#: Bytes of one request, at most: INT_MAX, down to a whole sector. QEMU: BDRV_REQUEST_MAX_BYTES.
MAX_REQUEST: Final = (2**31 - 1) // 512 * 512


def number_of_bytes(text: str) -> int:
    """0 to 2^63 - 1."""
    try:
        size = parse_size(text)
    except NotASize:
        problem = f"Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {text}"
        raise CommandFailed(problem) from None
    except SizeOutOfRange:
        size = INT64_MAX + 1
    if size > INT64_MAX:
        raise CommandFailed(f"Parsing error: argument too large -- {text}")
    return size


def request_length(text: str) -> int:
    """Bytes of one request."""
    length = number_of_bytes(text)
    if length > MAX_REQUEST:
        raise CommandFailed(f"length cannot exceed {MAX_REQUEST}, given {text}")
    return length


def vector_lengths(words: list[str]) -> list[int]:
    """Bytes of each buffer of one request."""
    lengths = []
    for word in words:
        length = number_of_bytes(word)
        if length > MAX_REQUEST:
            raise CommandFailed(f"Argument '{word}' exceeds maximum size {MAX_REQUEST}")
        lengths.append(length)
        if sum(lengths) > MAX_REQUEST:
            raise CommandFailed(f"The total number of bytes exceed the maximum size {MAX_REQUEST}")
    return lengths


def pattern_byte(text: str) -> int:
    """0 to 255."""
    number = c_number(text)
    if number is None or not 0 <= number <= 255:
        raise CommandFailed(f"{text} is not a valid pattern byte")
    return number


def sector_aligned(name: str, number: int) -> None:
    """Is ``number``, the offset or the count, one of whole sectors of 512 bytes?"""
    if number % 512:
        raise CommandFailed(f"{number} is not a sector-aligned value for '{name}'")
