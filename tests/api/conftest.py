# SPDX-License-Identifier: GPL-2.0-or-later
"""A console whose guest is the test, or a real shell on a terminal of the host's."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
from collections.abc import AsyncIterator

import pytest

from asyncemu.api import Console
from asyncemu.chardev import ChardevEvent, ChardevOptions
from asyncemu.chardev.python import Python
from asyncemu.loop import AioContext
from tests.chardev.recorder import Recorder


class GuestConsole:
    """``console`` is the program's side; ``chardev`` and ``recorder`` are the guest's."""

    def __init__(self, chardev: Python, context: AioContext) -> None:
        self.chardev = chardev
        self.recorder = Recorder()
        chardev.attach(self.recorder)
        self.console = Console(chardev.open_pair(context))

    def writes(self, text: str) -> None:
        """The guest writes."""
        assert self.chardev.write(text.encode()) == len(text.encode())


@pytest.fixture
async def chardev(context: AioContext) -> AsyncIterator[Python]:
    chardev = Python(ChardevOptions.model_validate({}), "console", context)
    await chardev.open()
    yield chardev
    await chardev.close()


@pytest.fixture
async def guest(chardev: Python, context: AioContext) -> AsyncIterator[GuestConsole]:
    guest = GuestConsole(chardev, context)
    yield guest
    await guest.console.end("the test is over")


class Terminal:
    """A front end that is a host's terminal with a program in it."""

    def __init__(self, chardev: Python, master: int) -> None:
        self._chardev = chardev
        self._master = master
        self._unsent = b""
        os.set_blocking(master, False)
        asyncio.get_running_loop().add_reader(master, self._readable)

    def can_receive(self) -> int:
        return 4096

    def receive(self, data: bytes) -> None:
        os.write(self._master, data)

    def chardev_event(self, event: ChardevEvent) -> None:
        """The program does not care."""

    def writable(self) -> None:
        """It reads what it is given, always."""

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the program has gone
            data = b""
        if data:
            self._chardev.write(data)
        else:
            asyncio.get_running_loop().remove_reader(self._master)


@pytest.fixture
async def shell_console(chardev: Python, context: AioContext) -> AsyncIterator[Console]:
    """A console with Debian's dash at its other end."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        ["/bin/dash", "-i"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={"PS1": "$ ", "PATH": os.environ["PATH"]},
        start_new_session=True,
    )
    os.close(terminal)
    chardev.attach(Terminal(chardev, master))
    console = Console(chardev.open_pair(context))
    yield console
    await console.end("the test is over")
    asyncio.get_running_loop().remove_reader(master)
    process.kill()
    process.wait()
    os.close(master)
