# SPDX-License-Identifier: GPL-2.0-or-later
"""python: a program that has the machine in its own process is the other end, by a reader and a writer.

    pair = chardev.open_pair(context)        # the program's home; while one is open there is a peer
    data = await pair.read(65536)
    pair.write(b"input"); await pair.drain()

Flow control, both ways: what the program does not read waits here, PIPE_SIZE bytes at most, and then the guest's writes
wait; what the guest does not take waits for it, and ``drain`` is for a program that writes much. While no pair is open
nobody can ever get the output, which counts as passed on.
The two ends may have different homes: what they share is under a lock, and each wakes the other by a bottom half.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from typing import Final

from asyncemu.chardev.chardev import Chardev, ChardevOptions
from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.errors import ChardevError
from asyncemu.loop import AioContext, any_thread, home

#: Bytes that wait for the program, and bytes of input at which ``drain`` waits. A pipe's size on Linux.
PIPE_SIZE: Final = 64 * 1024


class Pair:
    """The program's end. Home: the program's loop. It is made by ``Python.open_pair``."""

    def __init__(self, chardev: Python, context: AioContext) -> None:
        self.context = context
        self._chardev = chardev
        self._lock = threading.Lock()
        # Under the lock.
        self._output = bytearray()
        self._input = bytearray()
        self._closed = False
        self._wake_program = context.bh_new(self._woken, f"{chardev.id} pair")
        self._changed = asyncio.Event()

    @home
    async def read(self, limit: int) -> bytes:
        """What the guest has written: up to ``limit`` bytes, at least one; none when either end is closed."""
        while True:
            with self._lock:
                was_full = len(self._output) >= PIPE_SIZE
                data = bytes(self._output[:limit])
                del self._output[:limit]
                closed = self._closed
            if data or closed:
                if was_full:
                    self._chardev.wake()
                return data
            await self._wait()

    @home
    def read_nowait(self) -> bytes:
        """What the guest has written and nobody has read; perhaps nothing."""
        with self._lock:
            data = bytes(self._output)
            self._output.clear()
        self._chardev.wake()
        return data

    @home
    def write(self, data: bytes) -> None:
        """Input for the guest, which gets it as it has room. ChardevError (EPIPE) when either end is closed."""
        with self._lock:
            if self._closed:
                raise ChardevError(self._chardev.id, errno.EPIPE, "write")
            self._input += data
        self._chardev.wake()

    @home
    async def drain(self) -> None:
        """Until less than PIPE_SIZE bytes of input wait for the guest, or either end is closed."""
        while True:
            with self._lock:
                if len(self._input) < PIPE_SIZE or self._closed:
                    return
            await self._wait()

    @home
    def close(self) -> None:
        """Hang up; what was written and not taken yet is lost. May be called twice."""
        self.shut()
        self._chardev.wake()

    # ---- the chardev's side; any thread

    @any_thread
    def put(self, data: bytes) -> int:
        """Output of the guest; how many bytes were taken."""
        with self._lock:
            taken = len(data) if self._closed else min(len(data), PIPE_SIZE - len(self._output))
            if not self._closed:
                self._output += data[:taken]
        if taken:
            self._wake_program.schedule()
        return taken

    @any_thread
    def take(self, limit: int) -> bytes:
        """Input for the guest, up to ``limit`` bytes."""
        with self._lock:
            data = bytes(self._input[:limit])
            del self._input[:limit]
        if data:
            self._wake_program.schedule()
        return data

    @any_thread
    def shut(self) -> None:
        """No more comes or goes."""
        with self._lock:
            self._closed = True
            self._input.clear()
        self._wake_program.schedule()

    @property
    def closed(self) -> bool:
        """Has either end hung up?"""
        with self._lock:
            return self._closed

    # ---- inside

    def _woken(self) -> None:
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Python(Chardev[ChardevOptions], name="python"):
    """``open_pair`` gives the program its end."""

    description = "The program that runs the machine in its own process (asyncemu.Machine); nobody otherwise."

    def __init__(self, options: ChardevOptions, id: str, context: AioContext) -> None:
        super().__init__(options, id, context)
        self._pair: Pair | None = None
        self._bottom_half = context.bh_new(self._woken, f"{id} chardev")

    @home
    async def connect(self) -> None:
        """Nobody is there before ``open_pair``."""

    @any_thread
    def open_pair(self, context: AioContext) -> Pair:
        """The program's end, at home in ``context``; one at a time (ChardevError, EBUSY)."""
        if self._pair is not None and not self._pair.closed:
            raise ChardevError(self.id, errno.EBUSY, "open a second pair")
        pair = self._pair = Pair(self, context)
        self._bottom_half.schedule()
        return pair

    @any_thread
    def wake(self) -> None:
        """The program has read, written or hung up."""
        self._bottom_half.schedule()

    def _woken(self) -> None:
        pair = self._pair
        if pair is None:
            return
        if pair.closed is self.opened:
            self.event(ChardevEvent.CLOSED if self.opened else ChardevEvent.OPENED)
        self.flush_unsent()
        self.resume_input()

    def transmit(self, data: bytes) -> int:
        return len(data) if self._pair is None else self._pair.put(data)

    def resume_input(self) -> None:
        pair = self._pair
        while pair is not None and (room := self.room()) > 0 and (data := pair.take(room)):
            self.deliver(data)

    async def disconnect(self) -> None:
        """The program reads what is left, and then the end."""
        if self._pair is not None:
            self._pair.shut()
