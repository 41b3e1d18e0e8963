# SPDX-License-Identifier: GPL-2.0-or-later
"""pty: a pseudo-terminal of its own, for ``screen /dev/pts/7`` and the like.

Whether somebody has the slave open can't be waited for: a master whose slave is closed is readable and hung up all the
time (POLLHUP), and says nothing when it is opened. So it is looked at once a second, as QEMU does, and when the guest
writes. Output while nobody is there is discarded.
"""

from __future__ import annotations

import asyncio
import os
import select
import tty
from pathlib import Path
from typing import Final

from pydantic import Field

from asyncemu.chardev.chardev import Chardev, ChardevOptions, logger
from asyncemu.chardev.descriptor import Sink, Source
from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.host_path import HostPath

#: Seconds between two looks, as in QEMU.
LOOK_INTERVAL: Final = 1.0


class PtyOptions(ChardevOptions):
    """Keys of ``backend = "pty"``."""

    path: HostPath | None = Field(
        default=None, description="Symbolic link to make to the terminal, for a name that stays."
    )


class Pty(Chardev[PtyOptions], name="pty"):
    """``path`` is the terminal to open (``/dev/pts/7``), from ``open`` on."""

    description = "A pseudo-terminal of its own, for screen /dev/pts/7 and the like."

    path = ""
    look_interval = LOOK_INTERVAL

    _master = -1
    _link: Path | None = None
    _sink: Sink | None = None
    _source: Source | None = None
    _look_timer: asyncio.TimerHandle | None = None

    async def connect(self) -> None:
        """Make the terminal, in raw mode, and the link to it. Raises ChardevError."""
        try:
            self._master, slave = os.openpty()
        except OSError as error:
            raise self.failed(error, "make a pseudo-terminal") from error
        self.path = os.ttyname(slave)
        tty.setraw(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._poll = select.poll()
        self._poll.register(self._master, select.POLLIN)
        if self.options.path is not None:
            self._make_link(self.options.path)
        logger.info("chardev %s is %s", self.id, self._link or self.path)
        self._look_again()

    def _make_link(self, link: Path) -> None:
        try:
            if link.is_symlink() and str(link.readlink()).startswith("/dev/pts/"):
                link.unlink()  # left by one of us that was killed
            link.symlink_to(self.path)
        except OSError as error:
            raise self.failed(error, f"link {link} to {self.path}") from error
        self._link = link

    # ---- is somebody there?

    def _look_again(self) -> None:
        self._look()
        self._look_timer = self.context.loop.call_later(self.look_interval, self._look_again)

    def _look(self) -> None:
        """Notice who came or went. What somebody left behind for the guest is read before he counts as gone."""
        events = dict(self._poll.poll(0)).get(self._master, 0)
        hung_up = bool(events & select.POLLHUP)
        if self.opened and hung_up and not events & select.POLLIN:
            self._gone()
        elif not self.opened and not hung_up:
            self._sink = Sink(self, self._master, on_error=lambda _: self._gone())
            self._source = Source(self, self._master, on_end=self._gone)
            self.event(ChardevEvent.OPENED)
            self.resume_input()

    def _gone(self) -> None:
        self._let_go()
        self.event(ChardevEvent.CLOSED)
        self.discard_unsent()

    def _let_go(self) -> None:
        for user in (self._sink, self._source):
            if user is not None:
                user.close()
        self._sink = self._source = None

    # ---- the chardev's side

    @property
    def filename(self) -> str:
        """As query-chardev shows it in QEMU."""
        return f"pty:{self.path}"

    def transmit(self, data: bytes) -> int:
        if not self.opened and self._master >= 0:
            self._look()
        if self._sink is None:
            return len(data)
        sent = self._sink.write(data)
        if sent < len(data):
            # Full for ever when nobody reads any more.
            self._look()
        return sent if self.opened else len(data)

    def resume_input(self) -> None:
        if self._source is not None:
            self._source.resume()

    async def disconnect(self) -> None:
        """Take the terminal and the link away."""
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        self._let_go()
        if self._link is not None and self._link.is_symlink() and str(self._link.readlink()) == self.path:
            self._link.unlink()
        self._link = None
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
