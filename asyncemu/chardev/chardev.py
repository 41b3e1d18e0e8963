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
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, final

from pydantic import Field

from asyncemu import author_errors
from asyncemu.chardev.escape import MuxCommand
from asyncemu.chardev.frontend import ChardevEvent, Frontend, FrontendPort, SinglePort, SwappableFrontend
from asyncemu.chardev.mux import Mux
from asyncemu.chardev.output_log import OutputLog
from asyncemu.errors import ChardevError
from asyncemu.host_path import HostPath
from asyncemu.loop import AioContext, HasHome, any_thread, home
from asyncemu.options import Options
from asyncemu.plugins import Plugin

if TYPE_CHECKING:
    from asyncemu.tls_credentials import TlsCredentials

logger: Final = logging.getLogger("asyncemu.chardev")

#: Bytes that a back end buffers for a slow outside before ``write`` takes no more: a screenful or two of text.
WRITE_BUFFER: Final = 64 * 1024

#: What the user is told of a command that the machine obeys.
_SAID: Final = {
    MuxCommand.QUIT: "asyncemu: terminated",
    MuxCommand.SAVE: "asyncemu: what the guest has written is made safe on the disks; overlays are not merged",
}

#: How long ``close`` waits for a slow outside to take the last output, in seconds. Arbitrary: a reader that is alive
#: needs milliseconds, and one that is stuck (a terminal after Ctrl-S) must not keep the machine from ending.
CLOSE_TIMEOUT: Final = 1.0


class ChardevOptions(Options):
    """Keys that every character back end takes."""

    mux: bool | None = Field(
        default=None,
        description="Share between several front ends, with Ctrl-A commands; the default is what suits the back end.",
    )
    logfile: HostPath | None = Field(default=None, description="Also write all output to this file.")
    logappend: bool = Field(default=False, description="Append to the logfile rather than begin it anew.")


ChardevOptionsT = TypeVar("ChardevOptionsT", bound=ChardevOptions, covariant=True)


class Chardev(Plugin[ChardevOptionsT], HasHome):
    """Base of all character back ends.

    Subclasses define ``transmit`` (and ``connect``, ``disconnect``, ``resume_input`` where they need them), and call
    ``deliver`` with what comes in and ``event`` when the other end changes.
    """

    kind = "chardev"

    #: What Ctrl-A commands ask of the machine (QUIT, SAVE); set by the machine, called at home.
    on_command: Callable[[MuxCommand], object] | None = None

    #: The machine's TLS credentials by their ids; set by the machine.
    tls_credentials: Mapping[str, TlsCredentials] = MappingProxyType({})

    #: Can ``yank`` end a connection that hangs?
    can_yank: ClassVar[bool] = False

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
        self._log: OutputLog | None = None

    # ---- for the machine

    @final
    @home
    async def open(self) -> None:
        """Open the log, then ``connect``. Raises ConfigError or ChardevError, and has given back everything then."""
        try:
            if self.options.logfile is not None:
                self._log = OutputLog(self.id, self.options.logfile, self.options.logappend)
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
        except Exception as error:
            author_errors.report_or_raise(f"{self.id}: disconnect", error)
        finally:
            if self._log is not None:
                self._log.close()

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
            self._resume_input()

    @home
    def take_fds(self) -> list[int]:
        """Descriptors that came with what the front end received last, the caller's from now on.

        What nobody takes is closed when newer ones come, or the peer leaves.
        """
        return []

    @home
    def send_fds(self, fds: Sequence[int]) -> bool:
        """Copies of ``fds`` go with what is written next. False: the other end is no unix socket.

        Raises ChardevError (EBADF, EMFILE), ValueError: more than 16.
        """
        return False

    @home
    def set_break(self, active: bool) -> None:
        """The guest's line goes into the break condition, or leaves it; nothing where the outside has no such thing."""

    # ---- for the monitor

    @property
    def frontend_open(self) -> bool:
        """Is there a front end? QEMU: query-chardev."""
        return self._port.focus is not None

    @property
    def filename(self) -> str:
        """What it is, as QEMU's query-chardev shows it."""
        return self.name

    @home
    def send_break(self) -> None:
        """To the front end, as if the other end had sent it."""
        self.event(ChardevEvent.BREAK)

    @home
    def yank(self) -> None:
        """End a connection that hangs, at once; where ``can_yank``."""

    @final
    @home
    def hand_over(self, successor: Chardev[Any]) -> None:
        """Give the front end, a SwappableFrontend, to ``successor``, which is open and has the same home.

        The front end hears CLOSED when the other end of the new one is not there yet.
        """
        frontend = self._port.focus
        assert isinstance(frontend, SwappableFrontend)  # the caller asked
        if self.opened and not successor.opened:
            frontend.chardev_event(ChardevEvent.CLOSED)
        self._port.detach(frontend)
        frontend.chardev_changed(successor)
        successor.attach(frontend)
        if self._refused:
            # What was told to wait is told to go on by the one that takes it now.
            self._refused = False
            frontend.writable()

    # ---- for authors: how their errors are kept

    def _resume_input(self) -> None:
        try:
            self.resume_input()
        except Exception as error:
            author_errors.report_or_raise(f"{self.id}: resume_input", error)

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
            sent = self._transmit(bytes(self._unsent))
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
        if self._log is not None:
            self._log.write(data)
        sent = 0 if self._unsent else self._transmit(data)
        self._unsent += data[sent:]

    def _transmit(self, data: bytes) -> int:
        sent: object = 0
        try:
            sent = self.transmit(data)
            return min(sent, len(data))
        except Exception as error:
            wrong = author_errors.WrongResult(type(self).transmit, sent, "a number of bytes")
            # Who writes here is another device, and goes on: the output is lost.
            if not author_errors.report(
                f"{self.id}: transmit; the output is lost", error if isinstance(sent, int) else wrong
            ):
                raise
            return len(data)

    def _command(self, command: MuxCommand) -> None:
        if self.on_command is None:
            self.say("no machine is there to obey")
            return
        if command in _SAID:
            self.say(_SAID[command])
        self.on_command(command)

    def __repr__(self) -> str:
        return f"<Chardev {self.id} ({self.name})>"
