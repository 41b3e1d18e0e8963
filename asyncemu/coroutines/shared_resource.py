# SPDX-License-Identifier: GPL-2.0-or-later
"""SharedResource: so many units of something, memory for buffers say, for all who ask. QEMU: SharedResource.

    async with resource.share(65536): ...

In the order of arrival (turnstile.py): one that wants much holds up those behind it, and so gets it in the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from asyncemu.coroutines.turnstile import Turnstile
from asyncemu.loop import any_thread


class SharedResource(Turnstile):
    """For coroutines and tasks of any context; ``try_get`` and ``put`` for any thread."""

    __slots__ = ("_available", "total")

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total
        self._available = total

    def _admit(self, want: int) -> bool:
        if want > self._available:
            return False
        self._available -= want
        return True

    def _release(self, want: int) -> None:
        if self._available + want > self.total:
            raise ValueError(f"{want} units are put back to {self._available} of {self.total}")
        self._available += want

    def _check(self, units: int) -> None:
        if not 0 <= units <= self.total:
            raise ValueError(f"{units} units are asked for, of {self.total}")

    @any_thread
    def get(self, units: int) -> Awaitable[None]:
        """Await it: they are yours then. Cancelled while waiting, they are not. ValueError: more than there ever are.

        QEMU: co_get_from_shres.
        """
        self._check(units)
        return self._arrive(units)

    @any_thread
    def try_get(self, units: int) -> bool:
        """Take them if they are there and nobody waits. ValueError: more than there ever are."""
        self._check(units)
        with self._section:
            return not self._tickets and self._admit(units)

    @any_thread
    def put(self, units: int) -> None:
        """Give them back. ValueError: more than have been taken. QEMU: co_put_to_shres."""
        self._leave(units)

    @any_thread
    @asynccontextmanager
    async def share(self, units: int) -> AsyncIterator[None]:
        """``async with``: ``get`` and ``put``."""
        await self.get(units)
        try:
            yield
        finally:
            self.put(units)

    @property
    def available(self) -> int:
        """So many are nobody's."""
        return self._available
