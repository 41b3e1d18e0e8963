# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user of the human monitor may type: keys, and lines with arguments and options.

    all bytes    what is typed

May be raised inside: LineFault of lines, QmpError of options. No command is run. What the editor holds stays bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncemu.machine.iothreads import IOThreadOptions
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.hmp.arguments import Format, Situation
from asyncemu.monitor.hmp.option_text import split, typed
from asyncemu.monitor.hmp.readline import COMPLETIONS, HISTORY, LINE_LIMIT, Completing, Entered, LineEditor
from asyncemu.monitor.hmp.scanner import LineFault, Scanner
from asyncemu.monitor.hmp.table import COMMANDS, INFO_COMMANDS, load
from fuzz.driving import Defect

_SEEDS: Final = (
    b"info block -n -v disk0\rx/4xw $sp + 8*(1|2)\r\x1b[A\x1b[3~\x01\x0b",
    b"block_set_io_throttle vd 1 2 3 0x4 '5' -6\rblock_resize d0 1.5G\r",
    b'qom-set -j /objects/io0 poll-max-ns "a\\"b\\n"\rhelp info st\t\x15\x17\x7f',
    b"object_add iothread,id=io1,poll-max-ns=0x10,poll-grow=,,\rset_link nic on\r",
    b"\xc3\xa9\xff\x1bOH\x1b[1;5D\x1b[999999999~\x0c\x10\x0e",
)
_REGISTERS: Final = {"sp": 1 << 63, "pc": 0x1000}


def seeds() -> Sequence[bytes]:
    """Lines of all kinds."""
    return _SEEDS


def fuzz_one(data: bytes) -> None:
    """Type it."""
    load()
    editor = LineEditor()
    editor.prompt()
    for key in data:
        match editor.feed(key):
            case Entered(line):
                _take(line)
            case Completing(text):
                word = text.rpartition(" ")[2]
                editor.completed(word, [f"{word}{number}" for number in range(COMPLETIONS + 1)])
        editor.take_output()
    if len(editor.line) > LINE_LIMIT or len(editor.history) > HISTORY:
        raise Defect(f"{len(editor.line)} characters and {len(editor.history)} lines are held")


def _take(line: str) -> None:
    scanner = Scanner(line)
    table = COMMANDS
    name = scanner.take_name()
    if name == "info":
        table = INFO_COMMANDS
        name = scanner.take_name()
    command = table.get(name)
    try:
        if command is not None:
            command.parse(scanner, Situation(command.called, _REGISTERS, Format(1, "x", 4)))
        typed(IOThreadOptions, split(line, "qom-type"), {"qom-type": str, "id": str})
    except (LineFault, QmpError) as error:
        if not str(error):
            raise Defect("a fault without words") from error
