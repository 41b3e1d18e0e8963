# SPDX-License-Identifier: GPL-2.0-or-later
"""Exerciser: the image that is open, the requests under way, and one line of commands at a time."""

from __future__ import annotations

import sys
from collections.abc import Coroutine as PythonCoroutine
from typing import Any

from asyncemu.block.backend import BlockBackend
from asyncemu.cli.io.command import BadUsage, Command, CommandFailed, Invocation
from asyncemu.cli.io.disk import Disk
from asyncemu.cli.tools.failure import fail
from asyncemu.cli.tools.opening import Image, close_image
from asyncemu.cli.tools.report import complain, discard_output
from asyncemu.cli.tools.runner import ToolSession
from asyncemu.coroutines import Coroutine
from asyncemu.errors import AsyncemuError


class Exerciser:
    """Main context only."""

    def __init__(self, session: ToolSession, *, misaligned: bool = False) -> None:
        self.session = session
        #: Give requests memory that is not aligned.
        self.misaligned = misaligned
        self.finished = False
        #: Names of the breakpoints that there have been.
        self.tags: set[str] = set()
        self._image: Image | None = None
        self._requests: set[Coroutine[None]] = set()

    # ---- the image

    @property
    def image(self) -> Image:
        """The image that is open; commands without ``of_image`` must ask ``is_open`` first."""
        assert self._image is not None
        return self._image

    @property
    def backend(self) -> BlockBackend:
        """That of the image."""
        return self.image.backend

    @property
    def is_open(self) -> bool:
        """Is an image open?"""
        return self._image is not None

    @property
    def disk(self) -> Disk:
        """Its bytes."""
        return Disk(self.image)

    def take(self, image: Image) -> None:
        """``image`` is the one from now on."""
        self._image = image

    async def close_image(self) -> None:
        """Let requests end, and close it. Nothing when none is open. Raises what the last flush raises."""
        image = self._image
        if image is None:
            return
        if self.tags:
            from asyncemu.cli.io.breakpoints import release

            release(self)
        await self.wait_for_requests()
        self._image = None
        await close_image(self.session, image)

    # ---- requests under way

    def begin(self, body: PythonCoroutine[Any, Any, None]) -> None:
        """Start a request, which tells the user itself how it goes."""
        request = Coroutine(self.session.context, body, self._ended)
        self._requests.add(request)
        request.enter()

    @property
    def requests(self) -> int:
        """How many are under way."""
        return len(self._requests)

    async def wait_for_requests(self) -> None:
        """Until none is under way."""
        while self._requests:
            await next(iter(self._requests))

    def _ended(self, request: Coroutine[None]) -> None:
        self._requests.discard(request)
        if request.error is not None:
            # A bug of ours, as they deal with what may happen: it must not get lost.
            raise request.error
        # What it has said must not wait for the next prompt: who drives the program by a pipe may wait for it.
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            discard_output()

    # ---- commands

    async def execute(self, line: str) -> bool:
        """Run one line: a command and its words, with blanks between. Did it succeed?"""
        words = [word for word in line.split(" ") if word]
        if not words:
            return True
        from asyncemu.cli.io.table import find_command

        command = find_command(words[0])
        if command is None:
            complain(f'command "{words[0]}" not found')
            return False
        try:
            self._check(command, words)
            await command.run(self, Invocation(words))
        except BadUsage as error:
            if str(error):
                complain(str(error))
            print(command.synopsis)
            return False
        except CommandFailed as error:
            if str(error):
                print(error)
            return False
        except BrokenPipeError:
            # Who reads our output has read enough: the commands go on.
            discard_output()
        except (AsyncemuError, OSError) as error:
            fail(error)
            return False
        return True

    def _check(self, command: Command, words: list[str]) -> None:
        if command.of_image and self._image is None:
            complain("no file open, try 'help open'")
            raise CommandFailed
        given = len(words) - 1
        if given < command.least or (command.most is not None and given > command.most):
            complain(f"bad argument count {given} to {words[0]}, expected {_expected(command)} arguments")
            raise CommandFailed
        backend = self._image.backend if self._image is not None else None
        if backend is not None and command.permissions & ~backend.permissions:
            backend.set_permissions(backend.permissions | command.permissions, backend.shared)


def _expected(command: Command) -> str:
    if command.most is None:
        return f"at least {command.least}"
    return str(command.least) if command.least == command.most else f"between {command.least} and {command.most}"
