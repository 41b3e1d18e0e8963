# SPDX-License-Identifier: GPL-2.0-or-later
"""CoRwlock: many readers, or one writer. QEMU: CoRwlock.

    async with lock.reading(): ...          async with lock.writing(): ...

                 rdlock                    wrlock
    n readers <---------- free, or ------------------------> one writer
        |                 n readers and nobody waits              |
        +-- upgrade: leaves, and comes back as a writer --------->+
        +<------------------------------------------ downgrade ---+

Fair: a queue of tickets (turnstile.py), readers and writers in the order of arrival. A reader that comes while a writer
waits is behind that writer, so neither kind can starve the other. To upgrade is to queue up as everybody does: other
writers may have been there in between, and what was read before may have changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final

from asyncemu.coroutines.turnstile import Ticket, Turnstile, wake_all
from asyncemu.coroutines.waiter import GRANTED
from asyncemu.loop import any_thread

#: What a ticket wants.
_READ: Final = 1
_WRITE: Final = -1


class CoRwlock(Turnstile):
    """For coroutines and tasks of any context. Not for plain threads; not recursive."""

    __slots__ = ("_owners",)

    def __init__(self) -> None:
        super().__init__()
        #: So many readers; 0: it is free; -1: a writer.
        self._owners = 0

    def _admit(self, want: int) -> bool:
        if self._owners < 0 or (want == _WRITE and self._owners):
            return False
        self._owners += want
        return True

    def _release(self, want: int) -> None:
        if not self._owners:
            raise RuntimeError("a CoRwlock is unlocked that is not locked")
        self._owners += 1 if self._owners < 0 else -1

    @any_thread
    def rdlock(self) -> Awaitable[None]:
        """Await it: you are a reader then. Cancelled while waiting, you are not."""
        return self._arrive(_READ)

    @any_thread
    def wrlock(self) -> Awaitable[None]:
        """Await it: you are the writer then. Cancelled while waiting, you are not."""
        return self._arrive(_WRITE)

    @any_thread
    def unlock(self) -> None:
        """The caller, reader or writer, leaves. RuntimeError when it is not locked."""
        self._leave(_READ)

    @any_thread
    def upgrade(self) -> Awaitable[None]:
        """Await it, as a reader: you are the writer then; others may have written meanwhile.

        Cancelled, it raises when you are a reader again, so that one ``unlock`` is right either way. RuntimeError when
        there is no reader.
        """
        with self._section:
            if self._owners <= 0:
                raise RuntimeError("a CoRwlock is upgraded that has no reader")
            if self._owners == 1 and not self._tickets:
                self._owners = _WRITE
                return GRANTED
        return self._upgrade()

    async def _upgrade(self) -> None:
        ticket = Ticket(_WRITE)
        admitted: list[Ticket] = []
        with self._section:
            self._tickets.append(ticket)
            self._release(_READ)
            self._admit_first(admitted)
        wake_all(admitted)
        try:
            await ticket.wait()
        except asyncio.CancelledError:
            await self._read_again(ticket)
            raise

    async def _read_again(self, ticket: Ticket) -> None:
        """In the place of ``ticket``, which has been cancelled, whoever cancels that."""
        while True:
            reader = Ticket(_READ)
            admitted: list[Ticket] = []
            with self._section:
                waits = ticket in self._tickets
                if waits:
                    self._tickets[self._tickets.index(ticket)] = reader
                else:
                    self._owners = abs(self._owners)  # it was let in, as a writer or, later on, as a reader
                self._admit_first(admitted)
            wake_all(admitted)
            if not waits:
                return
            try:
                await reader.wait()
                return
            except asyncio.CancelledError:
                ticket = reader

    @any_thread
    def downgrade(self) -> Awaitable[None]:
        """Await it, as the writer: you are a reader, at once, as are those readers that are next in line.

        RuntimeError when there is no writer.
        """
        admitted: list[Ticket] = []
        with self._section:
            if self._owners != _WRITE:
                raise RuntimeError("a CoRwlock is downgraded that has no writer")
            self._owners = 1
            self._admit_first(admitted)
        wake_all(admitted)
        return GRANTED

    @any_thread
    def reading(self) -> _Side:
        """``async with``: a reader inside."""
        return _Side(self.rdlock, self.unlock)

    @any_thread
    def writing(self) -> _Side:
        """``async with``: the writer inside; or a reader, from ``downgrade`` on."""
        return _Side(self.wrlock, self.unlock)


class _Side:
    """Locks and unlocks."""

    __slots__ = ("_lock", "_unlock")

    def __init__(self, lock: Callable[[], Awaitable[None]], unlock: Callable[[], None]) -> None:
        self._lock = lock
        self._unlock = unlock

    def __aenter__(self) -> Awaitable[None]:
        return self._lock()

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Awaitable[None]:
        self._unlock()
        return GRANTED
