# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands print: sizes, how long a request took, the bytes that it has read."""

from __future__ import annotations

import sys
from typing import Final

_UNITS: Final = (" bytes", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB")

#: Lines of a dump that are put together before they are printed.
_LINES_AT_ONCE: Final = 4096


def size_text(value: float) -> str:
    """``512 bytes``, ``1 KiB``, ``1.500 MiB``: in the largest unit that gives at least 1. QEMU: cvtstr."""
    power = 0
    while power < len(_UNITS) - 1 and value >= 1 << 10 * (power + 1):
        power += 1
    digits = f"{value / (1 << 10 * power):.{3 if power else 6}f}"
    # A fraction that begins with three zeroes is left out, whatever follows.
    return digits.partition(".000")[0] + _UNITS[power]


def print_report(what: str, offset: int, length: int, took_ns: int, *, total: int, machine_readable: bool) -> None:
    """How one request of ``length`` bytes went, of which ``total`` were done in ``took_ns``."""
    seconds = max(took_ns, 1) / 1_000_000_000
    if machine_readable:
        print(f"{total},1,{_clock_time(seconds)},{total / seconds:.3f},{1 / seconds:.3f}")
        return
    print(f"{what} {total}/{length} bytes at offset {offset}")
    time = f"{seconds:05.2f} sec" if seconds < 60 else _clock_time(seconds)
    print(f"{size_text(total)}, 1 ops; {time} ({size_text(total / seconds)}/sec and {1 / seconds:.4f} ops/sec)")


def _clock_time(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60 + seconds % 1:05.2f}"


def dump(data: memoryview, offset: int) -> None:
    """``data``, which was at ``offset``, in hexadecimal, 16 bytes a line, with letters and digits behind."""
    for start in range(0, len(data), 16 * _LINES_AT_ONCE):
        part = bytes(data[start : start + 16 * _LINES_AT_ONCE])
        lines = [_line(offset + start + at, part[at : at + 16]) for at in range(0, len(part), 16)]
        sys.stdout.write("".join(lines))


def _line(offset: int, data: bytes) -> str:
    text = "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else "." for byte in data)
    return f"{offset:08x}:  {data.hex(' ')}  {text}\n"
