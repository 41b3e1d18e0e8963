# SPDX-License-Identifier: GPL-2.0-or-later
"""Turnstile: whoever comes is let in in the order of arrival, once there is room. CoRwlock and SharedResource are made
of it.

What it guarantees, for coroutines and tasks of all contexts:
- to arrive is to be let in or to be in the queue, in one step; nobody overtakes, however little he wants;
- whoever leaves lets in those in front for whom there is room then;
- cancelled, a waiter is out of the queue, or out again if it had been let in, and those behind it may go.

Each step is in one short section of a ``threading.Lock``. Nothing is made inside of it that is garbage-collected, as a
finaliser may want to leave; and nobody is woken inside of it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable

from asyncemu.coroutines.waiter import GRANTED, Waiter


class Ticket(Waiter):
    """One that waits, and what for: ``want`` means what the Turnstile's owner says."""

    __slots__ = ("want",)

    def __init__(self, want: int) -> None:
        super().__init__()
        self.want = want


class Turnstile:
    """Its heirs say when there is room."""

    __slots__ = ("_section", "_tickets")

    def __init__(self) -> None:
        self._section = threading.Lock()
        self._tickets: deque[Ticket] = deque()

    def _admit(self, want: int) -> bool:
        """In the section: is there room for one that wants that? It is taken then."""
        raise AssertionError

    def _release(self, want: int) -> None:
        """In the section: give back what ``_admit`` has taken."""
        raise AssertionError

    def _arrive(self, want: int) -> Awaitable[None]:
        with self._section:
            if not self._tickets and self._admit(want):
                return GRANTED
        return self._wait(want)

    async def _wait(self, want: int) -> None:
        ticket = Ticket(want)
        admitted: list[Ticket] = []
        with self._section:
            self._tickets.append(ticket)
            self._admit_first(admitted)  # there may be room by now
        wake_all(admitted)
        await self._wait_for(ticket)

    async def _wait_for(self, ticket: Ticket) -> None:
        try:
            await ticket.wait()
        except BaseException:
            admitted: list[Ticket] = []
            with self._section:
                if ticket in self._tickets:
                    self._tickets.remove(ticket)
                else:
                    self._release(ticket.want)
                self._admit_first(admitted)
            wake_all(admitted)
            raise

    def _leave(self, want: int) -> None:
        admitted: list[Ticket] = []
        with self._section:
            self._release(want)
            self._admit_first(admitted)
        wake_all(admitted)

    def _admit_first(self, admitted: list[Ticket]) -> None:
        """In the section."""
        while self._tickets and self._admit(self._tickets[0].want):
            admitted.append(self._tickets.popleft())


def wake_all(admitted: list[Ticket]) -> None:
    """Behind the section."""
    for ticket in admitted:
        ticket.wake()
