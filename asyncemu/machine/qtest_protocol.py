# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's qtest protocol, without any I/O: lines to commands, results to lines. Source: QEMU's documentation of qtest.

    client    readl 0x10001000          server    OK 0x0000000074726976
    client    clock_step 1000           server    OK 1000
    client    fly                       server    FAIL Unknown command 'fly'
    server    IRQ raise 11              whenever it happens, once ``irq_intercept_in`` was asked for

One line is one command, and each has one answer, in their order. Numbers are C's (strtoull with base 0): decimal, 0x
hexadecimal, 0 octal; a minus sign means modulo 2**64. Nothing that a client sends raises: what is no command is a
Failure, whose reason goes back to the client.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from asyncemu.machine.qtest_commands import (
    MAX_DATA,
    MAX_TIME,
    ClockSet,
    ClockStep,
    Command,
    Endianness,
    Failure,
    Fill,
    Intercept,
    Read,
    ReadValue,
    Write,
    WriteValue,
)

#: Bytes of a line without its end: the data in hexadecimal, and room for the words before it.
MAX_LINE: Final = 2 * MAX_DATA + 256
#: Characters of a client's word that an answer repeats.
_MAX_SHOWN: Final = 40
_MAX_U64: Final = (1 << 64) - 1
#: 64 characters: longer ones have more zeroes in front than anybody writes.
_number: Final = re.compile(rb"(?=.{1,64}\Z)[+-]?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
#: Bytes of an access, by the last letter of its command.
_WIDTHS: Final = {"b": 1, "w": 2, "l": 4, "q": 8}


def parse(line: bytes) -> Command | Failure:
    """The command in one line, which may still have its end. Never raises."""
    name, *words = line.split() or [b""]
    usage, make = _COMMANDS.get(name, ("", None))
    if make is None:
        return Failure(f"Unknown command '{_shown(name)}'")
    if len(words) not in (len(usage.split()), len(usage.partition("[")[0].split())):
        return Failure(f"{name.decode()} takes {usage or 'nothing'}")
    try:
        return make(*words)
    except ValueError as error:
        return Failure(f"{name.decode()}: {error}")


class CommandBuffer:
    """Bytes to commands. It holds MAX_LINE bytes at most when it is fed no more than ``room``."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._searched = 0
        self._skipping = False

    @property
    def room(self) -> int:
        """How many bytes ``feed`` may be given now."""
        return MAX_LINE - len(self._bytes)

    def feed(self, data: bytes) -> None:
        """What the client has sent next."""
        if self._skipping:
            _, end, data = data.partition(b"\n")
            self._skipping = not end
        self._bytes += data

    def take(self) -> Command | Failure | None:
        """The next command; None when its line has not ended yet. Of a line too long, the rest is skipped."""
        end = self._bytes.find(b"\n", self._searched)
        if end >= 0:
            line = bytes(self._bytes[:end])
            del self._bytes[: end + 1]
            self._searched = 0
            return parse(line)
        self._searched = len(self._bytes)
        if self.room > 0:
            return None
        self._bytes.clear()
        self._searched = 0
        self._skipping = True
        return Failure(f"a line has fewer than {MAX_LINE} bytes")


def ok(result: str = "") -> bytes:
    """The answer to a command that worked."""
    return f"OK {result}\n".encode() if result else b"OK\n"


def fail(reason: str) -> bytes:
    """The answer to one that did not; ``reason`` becomes one line."""
    return f"FAIL {' '.join(reason.split())}\n".encode()


def ok_value(value: int) -> bytes:
    """The answer to ReadValue."""
    return ok(f"0x{value:016x}")


def ok_data(command: Read, data: bytes) -> bytes:
    """The answer to Read."""
    return ok(base64.b64encode(data).decode() if command.base64 else f"0x{data.hex()}")


def irq(number: int, level: bool) -> bytes:
    """A line that is no answer: an intercepted wire has changed."""
    return f"IRQ {'raise' if level else 'lower'} {number}\n".encode()


# ---- words; ValueError says what is wrong with one


def _unsigned(name: str, word: bytes) -> int:
    """strtoull(word, base 0)."""
    match = _number.fullmatch(word)
    if match is None:
        raise ValueError(f"{name}: '{_shown(word)}' is no number")
    digits = match[1].lower()
    base = 16 if digits.startswith(b"0x") else 8 if digits.startswith(b"0") else 10
    value = int(digits, base)
    if value > _MAX_U64:
        raise ValueError(f"{name}: '{_shown(word)}' has more than 64 bits")
    return -value & _MAX_U64 if word.startswith(b"-") else value


def _size(word: bytes, least: int) -> int:
    size = _unsigned("SIZE", word)
    if not least <= size <= MAX_DATA:
        raise ValueError(f"SIZE: {size} is not from {least} to {MAX_DATA}")
    return size


def _time(word: bytes) -> int:
    ns = _unsigned("NS", word)
    if ns > MAX_TIME:
        raise ValueError(f"NS: '{_shown(word)}' is not from 0 to {MAX_TIME}")
    return ns


def _hex(word: bytes) -> bytes:
    try:
        if word[:2].lower() != b"0x":
            raise ValueError
        return binascii.unhexlify(word[2:])
    except ValueError:
        raise ValueError("DATA: give 0x and two hexadecimal digits for each byte") from None


def _base64(word: bytes) -> bytes:
    try:
        return base64.b64decode(word, validate=True)
    except ValueError:
        raise ValueError("DATA: is not base64") from None


def _shown(word: bytes) -> str:
    return "".join(chr(byte) if 32 < byte < 127 else f"\\x{byte:02x}" for byte in word[:_MAX_SHOWN])


# ---- commands


def _read_value(size: int) -> Callable[..., Command]:
    return lambda address: ReadValue(_unsigned("ADDR", address), size)


def _write_value(size: int) -> Callable[..., Command]:
    # As in C, the value loses the bits that the access has no room for.
    return lambda address, value: WriteValue(
        _unsigned("ADDR", address), size, _unsigned("VALUE", value) & (1 << 8 * size) - 1
    )


def _write(address: bytes, size: bytes, data: bytes) -> Command:
    # QEMU: data that is shorter than SIZE is filled up with zeroes.
    length = _size(size, 0)
    return Write(_unsigned("ADDR", address), _hex(data)[:length].ljust(length, b"\0"))


def _b64write(address: bytes, size: bytes, data: bytes) -> Command:
    # QEMU: where the sizes do not match, the shorter one counts.
    return Write(_unsigned("ADDR", address), _base64(data)[: _size(size, 0)])


def _intercept(outputs: bool) -> Callable[..., Command]:
    return lambda path: Intercept(path.decode("ascii", "backslashreplace"), outputs)


#: Name → arguments (those that may be left out in brackets), and what makes the command of their words.
_COMMANDS: Final[dict[bytes, tuple[str, Callable[..., Command]]]] = {
    b"clock_step": ("[NS]", lambda ns=None: ClockStep(None if ns is None else _time(ns))),
    b"clock_set": ("NS", lambda ns: ClockSet(_time(ns))),
    **{f"read{suffix}".encode(): ("ADDR", _read_value(size)) for suffix, size in _WIDTHS.items()},
    **{f"write{suffix}".encode(): ("ADDR VALUE", _write_value(size)) for suffix, size in _WIDTHS.items()},
    b"read": ("ADDR SIZE", lambda address, size: Read(_unsigned("ADDR", address), _size(size, 1))),
    b"b64read": ("ADDR SIZE", lambda address, size: Read(_unsigned("ADDR", address), _size(size, 1), True)),
    b"write": ("ADDR SIZE DATA", _write),
    b"b64write": ("ADDR SIZE DATA", _b64write),
    b"memset": (
        "ADDR SIZE VALUE",
        lambda address, size, value: Fill(_unsigned("ADDR", address), _size(size, 0), _unsigned("VALUE", value) & 0xFF),
    ),
    b"endianness": ("", Endianness),
    b"irq_intercept_in": ("PATH", _intercept(False)),
    b"irq_intercept_out": ("PATH", _intercept(True)),
}
