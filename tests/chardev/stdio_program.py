# SPDX-License-Identifier: GPL-2.0-or-later
"""A program with a stdio chardev, for tests to end in every way: ``python -m tests.chardev.stdio_program HOW``.

Echoes what it is sent; says "ready" on the terminal once it is raw, and "continued" once it is after SIGCONT.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType

from asyncemu.chardev import ChardevEvent, MuxCommand
from asyncemu.chardev.stdio import Stdio, StdioOptions
from asyncemu.loop import AioContext, MainLoop


class Echo:
    """A front end that sends everything back."""

    def __init__(self, chardev: Stdio) -> None:
        self.chardev = chardev

    def can_receive(self) -> int:
        return 100

    def receive(self, data: bytes) -> None:
        self.chardev.write(data)

    def chardev_event(self, event: ChardevEvent) -> None:
        pass

    def writable(self) -> None:
        pass


async def run(context: AioContext, how: str) -> None:
    """``how``: "wait" for Ctrl-A x, "raise" an exception, "exit" without closing."""
    chardev = Stdio(StdioOptions.model_validate({}), "console", context)
    quit_asked = asyncio.Event()

    def command(command: MuxCommand) -> None:
        assert command is MuxCommand.QUIT
        quit_asked.set()

    chardev.on_command = command
    await chardev.open()
    chardev.attach(Echo(chardev))
    make_raw = signal.getsignal(signal.SIGCONT)
    assert callable(make_raw)

    def continued(number: int, frame: FrameType | None) -> None:
        make_raw(number, frame)
        os.write(1, b"continued")

    signal.signal(signal.SIGCONT, continued)
    chardev.write(b"ready")
    if how == "raise":
        raise RuntimeError("on purpose")
    if how == "exit":
        sys.exit(3)
    await quit_asked.wait()
    await chardev.close()


if __name__ == "__main__":
    MainLoop.run(lambda context: run(context, sys.argv[1]))
