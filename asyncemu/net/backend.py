# SPDX-License-Identifier: GPL-2.0-or-later
"""NetBackend: what an author of a network back end writes, and what the machine sees of it. QEMU: -netdev.

    class Echo(NetBackend[Options], name="echo"):
        '''Sends each frame back to the guest, with the addresses exchanged.'''

        async def run(self) -> None:
            while True:
                await self.deliver(await self._frames.get())

        def transmit(self, frames: Frames) -> None: ...

Life: the machine makes it and awaits ``open``; then a device connects its port. ``run`` goes on until ``close`` cancels
it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, TypeVar, final

from asyncemu import author_errors
from asyncemu.errors import AsyncemuError, NetError
from asyncemu.loop import AioContext, Clocks, any_thread, home
from asyncemu.net.frame import Frame, Frames
from asyncemu.net.port import NetPort
from asyncemu.options import Options
from asyncemu.plugins import Plugin

logger: Final = logging.getLogger("asyncemu.net")

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncemu.events import Event

OptionsT = TypeVar("OptionsT", bound=Options, covariant=True)


class NetBackend(Plugin[OptionsT], NetPort):
    """Base of all network back ends. Home: that of the device that it is for.

    Subclasses define ``transmit``, and ``run`` or ``connect`` where frames come from outside.
    """

    kind = "netdev"

    #: Tells those who control the machine what has happened, from any thread; set by the machine.
    emit: Callable[[Event], object] | None = None

    def __init__(self, options: OptionsT, id: str, context: AioContext, clocks: Clocks) -> None:
        NetPort.__init__(self, id, context)
        self.options = options
        self.id = id
        self.clocks = clocks
        self._running: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None
        self._closed = False

    # ---- for the machine

    @property
    def ports(self) -> tuple[NetPort, ...]:
        """Its end of the link of each queue pair of the device; more than one for a back end with queues."""
        return (self,)

    @final
    @home
    async def open(self) -> None:
        """``connect``, then begin to ``run``. Raises ConfigError or NetError, and has given back everything then."""
        try:
            await self.connect()
        except BaseException:
            await self.close()
            raise
        self._running = self.context.loop.create_task(self._run())

    @final
    @home
    async def close(self) -> None:
        """End ``run``, then ``disconnect``. A second close does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._running is not None:
                self._running.cancel()
                await asyncio.wait([self._running])
        finally:
            try:
                await self.disconnect()
            except Exception as error:
                author_errors.report_or_raise(f"{self.id}: disconnect", error)

    async def _run(self) -> None:
        try:
            await self.run()
        except AsyncemuError as error:
            logger.error("%s; its link is down", error)
            self.set_link(False)
        except Exception as error:
            message = f"network back end {self.id}; its link is down"
            self.context.loop.call_exception_handler({"message": message, "exception": error})
            self.set_link(False)

    # ---- for authors

    @home
    async def connect(self) -> None:
        """Reach the outside. Raises ConfigError or NetError; ``disconnect`` is called then, too."""

    @home
    async def disconnect(self) -> None:
        """Give everything back; may be called after a ``connect`` that failed halfway."""

    @home
    async def run(self) -> None:
        """Bring in frames with ``deliver`` or ``send``; cancelled at the end. When it fails, the link goes down."""

    @home
    def transmit(self, frames: Frames) -> int | None:
        """Frames of the guest: how many are taken; None: all. For the others, call ``ready`` when there is room."""
        raise TypeError(f"netdev {self.name!r} does not define transmit()")

    @home
    async def deliver(self, frame: Frame | bytes) -> None:
        """Hand the guest a frame; returns when it is taken."""
        if not isinstance(frame, Frame):
            frame = Frame.of(frame)
        while not self.send((frame,)):
            if self._room is None:
                self._room = asyncio.Event()
            self._room.clear()
            await self._room.wait()

    @home
    def writable(self) -> None:
        """See NetPort; whoever overrides it and uses ``deliver`` calls it."""
        if self._room is not None:
            self._room.set()

    @home
    def receive(self, frames: Frames) -> int:
        """See NetPort."""
        try:
            taken = self.transmit(frames)
        except Exception as error:
            if not author_errors.report(f"{self.id}: transmit; its link is down", error):
                raise
            # Not now: who sends is in the midst of it.
            self.context.schedule_oneshot(lambda: self.set_link(False))
            taken = None
        return len(frames) if taken is None else taken

    @any_thread
    def summary(self) -> str:
        """What it is, in a line. QEMU: a client's info_str, behind its type, in info network."""
        return type(self).name

    @any_thread
    def failed(self, error: OSError, doing: str) -> NetError:
        """``error`` as the one line that the user sees: ``"net0: open /dev/net/tun: Permission denied"``."""
        return NetError(self.id, error.errno or 0, doing)

    @any_thread
    def __repr__(self) -> str:
        return f"<NetBackend {self.id} ({type(self).name})>"
