# SPDX-License-Identifier: GPL-2.0-or-later
"""Chardev: what an author of a character back end writes, and what a front end sees of it.

    class Null(Chardev[ChardevOptions], name="null"):
        def transmit(self, data: bytes) -> int: return len(data)

Life: the machine makes it, sets ``on_command`` and awaits ``open``; front ends attach before or after; ``close``.

Flow control, both ways. To the outside: ``write`` takes what it can into a bounded buffer and says how much; when it
was not all, the front end is told by ``writable`` once there is room. To the guest: the back end hands in no more than
``room()`` and stops reading its source at 0 until ``resume_input``.
All methods run in the back end's home context.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Final, TypeVar, final

from pydantic import Field

from asyncemu.chardev.escape import MuxCommand
from asyncemu.chardev.frontend import ChardevEvent, Frontend, FrontendPort, SinglePort
from asyncemu.chardev.mux import Mux
from asyncemu.errors import ChardevError
from asyncemu.host_path import HostPath
from asyncemu.loop import AioContext, HasHome, any_thread, home
from asyncemu.options import Options
from asyncemu.plugins import Plugin

logger: Final = logging.getLogger("asyncemu.chardev")

#: Bytes that a back end buffers for a slow outside before ``write`` takes no more: a screenful or two of text.
WRITE_BUFFER: Final = 64 * 1024

#: How long ``close`` waits for a slow outside to take the last output, in seconds. Arbitrary: a reader that is alive
#: needs milliseconds, and one that is stuck (a terminal after Ctrl-S) must not keep the machine from ending.
CLOSE_TIMEOUT: Final = 1.0


class ChardevOptions(Options):
    """Keys that every character back end takes."""

    mux: bool | None = Field(
        None,
        description="Share between several front ends, with Ctrl-A commands; the default is what suits the back end.",
    )
    logfile: HostPath | None = Field(None, description="Also write all output to this file.")
    logappend: bool = Field(False, description="Append to the logfile rather than begin it anew.")


ChardevOptionsT = TypeVar("ChardevOptionsT", bound=ChardevOptions, covariant=True)


class Chardev(Plugin[ChardevOptionsT], HasHome):
    """Base of all character back ends.

    Subclasses define ``transmit`` (and ``connect``, ``disconnect``, ``resume_input`` where they need them), and call
    ``deliver`` with what comes in and ``event`` when the other end changes.
    """

    kind = "chardev"

    #: What Ctrl-A commands ask of the machine (now only MuxCommand.QUIT); set by the machine, called at home.
    on_command: Callable[[MuxCommand], object] | None = None

    def __init__(self, options: ChardevOptionsT, id: str, context: AioContext) -> None:
        self.options = options
        self.id = id
        self.context = context
        #: Is the other end there?
        self.opened = False
        self._port: FrontendPort = Mux(self.say, self._command) if self.is_mux() else SinglePort(id)
        self._unsent = bytearray()
        self._refused = False
        self._emptied: asyncio.Event | None = None
        self._closed = False
        self._log_fd = -1

    # ---- for the machine

    @final
    @home
    async def open(self) -> None:
        """Open the log, then ``connect``. Raises ConfigError or ChardevError, and has given back everything then."""
        try:
            if self.options.logfile is not None:
                self._log_fd = self._open_log(self.options.logfile)
            await self.connect()
        except BaseException:
            await self._give_back()
            raise

    @final
    @home
    async def close(self) -> None:
        """Send what is unsent, for CLOSE_TIMEOUT at most, then ``disconnect``. What is written later is discarded."""
        try:
            if self._unsent and not self._closed:
                await self._wait_sent()
        finally:
            await self._give_back()

    async def _wait_sent(self) -> None:
        self._emptied = asyncio.Event()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._emptied.wait()
        except TimeoutError:
            logger.warning("%s: %d bytes of output were not taken", self.id, len(self._unsent))

    async def _give_back(self) -> None:
        self._closed = True
        # Also wakes front ends that wait for room: what they write now is discarded.
        self.discard_unsent()
        try:
            await self.disconnect()
        finally:
            if self._log_fd >= 0:
                os.close(self._log_fd)
                self._log_fd = -1

    # ---- for front ends

    @property
    def frontend(self) -> Frontend | None:
        """The front end that gets what comes in."""
        return self._port.focus

    @home
    def attach(self, frontend: Frontend) -> None:
        """Connect a front end; only a mux takes several. Told at once when the other end is there already."""
        self._port.attach(frontend)
        if self.opened:
            frontend.chardev_event(ChardevEvent.OPENED)
        self.accept_input()

    @home
    def detach(self, frontend: Frontend | None = None) -> None:
        """Disconnect a front end (None: the one with the focus); input waits."""
        self._port.detach(frontend)

    @home
    def write(self, data: bytes) -> int:
        """Send bytes to the outside; how many were taken. Fewer than all: ``Frontend.writable`` follows."""
        if self._closed:
            return len(data)
        taken = 0
        while taken < len(data):
            room = WRITE_BUFFER - len(self._unsent)
            if room <= 0:
                self._refused = True
                break
            piece = data[taken : taken + room]
            taken += len(piece)
            self._send(self._port.decorate(piece))
        return taken

    @home
    def accept_input(self) -> None:
        """The front end has room again."""
        self._port.accept_input()
        if not self._closed:
            self.resume_input()

    # ---- for authors

    @any_thread
    def is_mux(self) -> bool:
        """Share between front ends, with Ctrl-A commands? Asked once, by the constructor."""
        return bool(self.options.mux)

    @home
    async def connect(self) -> None:
        """Reach the outside, and read it while there is ``room()``. ``event(OPENED)`` says that a peer is there.

        Raises ConfigError (bad options) or ChardevError; ``disconnect`` is called then, too.
        """
        self.event(ChardevEvent.OPENED)

    @home
    async def disconnect(self) -> None:
        """Give everything back; may be called twice, and after a ``connect`` that failed halfway."""

    @home
    def transmit(self, data: bytes) -> int:
        """Pass on what can be passed on without waiting; how many bytes. Call ``flush_unsent`` when more can go.

        Output that nobody can ever get (no peer) counts as passed on.
        """
        raise TypeError(f"chardev {self.name!r} does not define transmit()")

    @home
    def resume_input(self) -> None:
        """The front end may take bytes again: read the source while ``room()`` is positive. Also before ``connect``."""

    @home
    def room(self) -> int:
        """How many bytes ``deliver`` may be given now."""
        return self._port.room()

    @home
    def deliver(self, data: bytes) -> None:
        """Bytes from the outside for the front end; at most ``room()``."""
        if data:
            self._port.deliver(data)

    @home
    def event(self, event: ChardevEvent) -> None:
        """The other end came, went, or sent a break."""
        if event is ChardevEvent.OPENED:
            self.opened = True
        elif event is ChardevEvent.CLOSED:
            self.opened = False
        self._port.event(event)

    @home
    def flush_unsent(self) -> bool:
        """The outside takes bytes again: pass on the buffer. True when it is empty now."""
        while self._unsent:
            sent = self.transmit(bytes(self._unsent))
            if not sent:
                return False
            del self._unsent[:sent]
        if self._emptied is not None:
            self._emptied.set()
        if self._refused:
            self._refused = False
            self._port.writable()
        return not self._unsent

    @home
    def discard_unsent(self) -> None:
        """The peer is gone: nobody will want the buffer."""
        self._unsent.clear()
        self.flush_unsent()

    @home
    def say(self, text: str) -> None:
        """Tell the user at the other end, in lines of their own; left out when the buffer for output is full."""
        if len(self._unsent) < WRITE_BUFFER and not self._closed:
            self._send(("\r\n" + text.replace("\n", "\r\n") + "\r\n").encode())

    @property
    def unsent(self) -> int:
        """Bytes taken and not passed on yet."""
        return len(self._unsent)

    @any_thread
    def failed(self, error: OSError, doing: str) -> ChardevError:
        """``error`` as the one line that the user sees: ``"console: open /x/y: No such file or directory"``."""
        return ChardevError(self.id, error.errno or 0, doing)

    # ---- inside

    def _send(self, data: bytes) -> None:
        if self._log_fd >= 0:
            self._log(data)
        sent = 0 if self._unsent else self.transmit(data)
        self._unsent += data[sent:]

    def _command(self, command: MuxCommand) -> None:
        if self.on_command is None:
            self.say("no machine is there to obey")
            return
        if command is MuxCommand.QUIT:
            self.say("asyncemu: terminated")
        self.on_command(command)

    def _open_log(self, path: HostPath) -> int:
        # O_NONBLOCK: a FIFO that nobody reads is an error and not a hang.
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            return os.open(path, flags | (os.O_APPEND if self.options.logappend else os.O_TRUNC), 0o666)
        except OSError as error:
            raise self.failed(error, f"open logfile {path}") from error

    def _log(self, data: bytes) -> None:
        try:
            os.write(self._log_fd, data)
        except OSError as error:
            logger.error("%s", self.failed(error, f"write logfile {self.options.logfile}; it ends here"))
            os.close(self._log_fd)
            self._log_fd = -1

    def __repr__(self) -> str:
        return f"<Chardev {self.id} ({self.name})>"
