# SPDX-License-Identifier: GPL-2.0-or-later
"""The Ctrl-A commands as a parser that does no I/O: bytes in, data and commands out.

The keys are those of QEMU's manual, "Keys in the character backend multiplexer". A key that is no command is
swallowed together with its Ctrl-A. Where QEMU's ``s`` commits the overlays of its
snapshot mode, ours flushes all disks.
"""

from __future__ import annotations

import enum
from typing import Final

#: Ctrl-A.
ESCAPE: Final = 0x01
_ESCAPE_BYTE: Final = bytes([ESCAPE])


class MuxCommand(enum.Enum):
    """What Ctrl-A and a key ask for; the value is the key."""

    HELP = "h"
    QUIT = "x"
    SAVE = "s"
    BREAK = "b"
    SWITCH = "c"
    TIMESTAMPS = "t"


_COMMANDS: Final = {ord(command.value): command for command in MuxCommand} | {ord("?"): MuxCommand.HELP}

HELP_TEXT: Final = (
    "Ctrl-A h    this help\n"
    "Ctrl-A x    quit the machine\n"
    "Ctrl-A s    save: make safe on the disks what the guest has written\n"
    "Ctrl-A b    send a break\n"
    "Ctrl-A c    switch to the next front end (the monitor)\n"
    "Ctrl-A t    time stamps on or off\n"
    "Ctrl-A Ctrl-A    send Ctrl-A"
)


class EscapeParser:
    """Splits a stream into data and commands; where the stream is cut into pieces makes no difference."""

    def __init__(self) -> None:
        self._escaped = False

    def feed(self, data: bytes) -> list[bytes | MuxCommand]:
        """The next bytes of the stream as data (never empty) and commands, in order. Never more data than was fed."""
        actions: list[bytes | MuxCommand] = []
        if self._escaped:
            data = _ESCAPE_BYTE + data
            self._escaped = False
        position = 0
        while (escape := data.find(_ESCAPE_BYTE, position)) >= 0:
            if escape > position:
                actions.append(data[position:escape])
            if escape + 1 == len(data):
                self._escaped = True
                return actions
            key = data[escape + 1]
            if key == ESCAPE:
                actions.append(_ESCAPE_BYTE)
            elif key in _COMMANDS:
                actions.append(_COMMANDS[key])
            position = escape + 2
        if position < len(data):
            actions.append(data[position:])
        return actions
