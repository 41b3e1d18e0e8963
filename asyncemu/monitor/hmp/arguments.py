# SPDX-License-Identifier: GPL-2.0-or-later
"""The types that an HMP command's arguments have, as its function's signature names them.

    async def pmemsave(session: Session, addr: Number, size: Number, filename: FileName) -> None: ...
    async def set_link(session: Session, name: Text, up: OnOff) -> None: ...
    async def dump(session: Session, paging: Annotated[bool, Flag("p")] = False, ...) -> None: ...

A parameter with a default may be left out at the end of the line. Each type knows how it is read from a line, what is
wrong when it can't be, in QEMU's words, and what Tab offers for it. QEMU: the letters of args_type.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from asyncemu.monitor.hmp.expression import parse_expression
from asyncemu.monitor.hmp.scanner import LineFault, Scanner

_SIZE: Final = re.compile(r"(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}(?:\.[0-9]{0,20})?)([BbKkMmGgTtPpEe]?)")
_SHIFTS: Final = {"": 20, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}

#: Letters of a format that say how to write an item, and those that say how many bytes it has.
_FORMATS: Final = "oduxic"
_SIZES: Final = {"b": 1, "h": 2, "w": 4, "g": 8, "L": 8}
#: Items that may be asked for. Arbitrary: a screenful has some hundred.
MAX_COUNT: Final = 1 << 20


@dataclass(slots=True)
class Format:
    """``/20xw``: how memory and values are written."""

    count: int
    letter: str
    #: Bytes of an item; instructions have their own.
    size: int


@dataclass(slots=True)
class Situation:
    """What a line is read with."""

    #: The command's name as faults give it, with aliases: "cont|c".
    command: str
    #: What $names stand for.
    registers: Mapping[str, int]
    #: Of the last command with a format; it stays for the next one.
    format: Format
    #: Letters of the command's flags.
    flags: str = ""


class ArgumentType(ABC):
    """Base of all."""

    #: What Tab offers: a kind of name (completion.py).
    completes: str = ""

    @abstractmethod
    def parse(self, scanner: Scanner, situation: Situation, optional: bool) -> Any:
        """The argument at ``scanner``; None: it is ``optional`` and not there. Raises LineFault."""


class _Word(ArgumentType):
    def __init__(self, called: str, completes: str = "") -> None:
        self._called = called
        self.completes = completes

    def parse(self, scanner: Scanner, situation: Situation, optional: bool) -> str | None:
        scanner.skip_spaces()
        if optional and not scanner.next:
            return None
        word = scanner.take_word()
        if word is None:
            raise LineFault(f"{situation.command}: {self._called} expected")
        return word


class _Rest(ArgumentType):
    """All that is left of the line, as it is."""

    def __init__(self, completes: str = "") -> None:
        self.completes = completes

    def parse(self, scanner: Scanner, situation: Situation, optional: bool) -> str | None:
        scanner.skip_spaces()
        text = scanner.take_rest()
        if not text and not optional:
            raise LineFault(f"{situation.command}: string expected")
        return text or None


class _Options(ArgumentType):
    """A word of KEY=VALUE pairs; without one it is the command that complains."""

    def __init__(self, completes: str = "") -> None:
        self.completes = completes

    def parse(self, scanner: Scanner, situation: Situation, optional: bool) -> str:
        return scanner.take_word() or ""


class _Number(ArgumentType):
    def __init__(self, bits: int) -> None:
        self._bits = bits

    def parse(self, scanner: Scanner, situation: Situation, optional: bool) -> int | None:
        scanner.skip_spaces()
        if optional and not scanner.next:
            return None
        value = parse_expression(scanner, situation.registers)
        if self._bits == 32 and not 0 <= value < 1 << 32:
            raise LineFault(f"'{situation.command}' has failed: integer is for 32-bit values")
        return value


class _Size(ArgumentType):
    """Bytes, by default in MiB. QEMU: qemu_strtosz_MiB."""

    def parse(self, scanner: Scanner, situation: Situation, optional: bool) -> int | None:
        scanner.skip_spaces()
        if optional and not scanner.next:
            return None
        found = _SIZE.match(scanner.line, scanner.position)
        if found is None:
            raise LineFault("invalid size")
        scanner.position = found.end()
        number, suffix = found.groups()
        shift = _SHIFTS[suffix.lower()]
        if number[:2] in ("0x", "0X"):
            value = int(number, 16) << shift
        else:
            whole, _, fraction = number.partition(".")
            value = (int(whole) << shift) + ((int(fraction) << shift) // 10 ** len(fraction) if fraction else 0)
        if value >= 1 << 63:
            raise LineFault("invalid size")
        return value


class _OnOff(ArgumentType):
    completes = "on-off"

    def parse(self, scanner: Scanner, situation: Situation, optional: bool) -> bool | None:
        scanner.skip_spaces()
        if optional and not scanner.next:
            return None
        word = scanner.take_word()
        if word not in ("on", "off"):
            raise LineFault("Expected 'on' or 'off'")
        return word == "on"


class Flag(ArgumentType):
    """``-x``, there or not."""

    def __init__(self, letter: str) -> None:
        self.letter = letter

    def parse(self, scanner: Scanner, situation: Situation, optional: bool) -> bool:
        scanner.skip_spaces()
        if scanner.next != "-":
            return False
        letter = scanner.line[scanner.position + 1 : scanner.position + 2]
        if letter == self.letter:
            scanner.position += 2
            return True
        if not letter or letter not in situation.flags:
            raise LineFault(f"{situation.command}: unsupported option -{letter}")
        return False


class _Format(ArgumentType):
    def parse(self, scanner: Scanner, situation: Situation, optional: bool) -> Format:
        last = situation.format
        scanner.skip_spaces()
        if scanner.next != "/":
            return Format(1, last.letter, last.size)
        scanner.take()
        start = scanner.position
        while scanner.next.isascii() and scanner.next.isdigit():
            scanner.take()
        digits = scanner.line[start : scanner.position]
        count = int(digits[:10]) if digits else 1
        letter, size = last.letter, 0
        while scanner.next and (scanner.next in _FORMATS or scanner.next in _SIZES):
            character = scanner.take()
            if character in _FORMATS:
                letter = character
            else:
                size = _SIZES[character]
        if scanner.next and not scanner.next.isspace():
            raise LineFault(f"invalid char in format: '{scanner.next}'")
        if count > MAX_COUNT:
            raise LineFault(f"{count} items are too many: {MAX_COUNT} at most")
        if letter != "i":
            last.size = size or last.size
        last.letter = letter
        return Format(count, letter, last.size)


Text = Annotated[str, _Word("string")]
FileName = Annotated[str, _Word("filename", "file")]
BlockName = Annotated[str, _Word("block device name", "block")]
DeviceId = Annotated[str, _Word("string", "device")]
NetdevId = Annotated[str, _Word("string", "netdev")]
LinkName = Annotated[str, _Word("string", "link")]
ChardevId = Annotated[str, _Word("string", "chardev")]
RingbufId = Annotated[str, _Word("string", "ringbuf")]
ObjectId = Annotated[str, _Word("string", "object")]
EventName = Annotated[str, _Word("string", "trace-event")]
CommandName = Annotated[str, _Rest("command")]
InfoName = Annotated[str, _Rest("info")]
Rest = Annotated[str, _Rest()]
ObjectOptions = Annotated[str, _Rest("object-type")]
DeviceOptions = Annotated[str, _Options("device-type")]
ChardevOptions = Annotated[str, _Word("string", "chardev-type")]
NetdevOptions = Annotated[str, _Options("netdev-type")]
Number32 = Annotated[int, _Number(32)]
Number = Annotated[int, _Number(64)]
Size = Annotated[int, _Size()]
OnOff = Annotated[bool, _OnOff()]
FormatOf = Annotated[Format, _Format()]
