# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorder: in which order coroutines came to wait for a lock, and in which they got it, over all contexts.

It takes the place of the lock's own queue: to be in it is to have arrived, so arrivals are seen in one step. Whoever
has the lock says ``got`` before it lets go, or ``gave_up`` when it was cancelled. Who need not wait is not in it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any, TypeVar

from asyncemu.coroutines import CoMutex, CoRwlock, SharedResource
from asyncemu.coroutines.turnstile import Turnstile

LockT = TypeVar("LockT", CoMutex, CoRwlock, SharedResource)


class Recorder(deque[Any]):
    """A lock's queue."""

    def __init__(self) -> None:
        super().__init__()
        self._step = threading.Lock()
        self._arrived: list[Any] = []
        self._got: list[Any] = []
        self._gone: set[Any] = set()
        self._waiting: dict[Any, Any] = {}

    def append(self, waiter: Any) -> None:
        with self._step:
            super().append(waiter)
            self._arrived.append(waiter)
            self._waiting[asyncio.current_task()] = waiter

    def __setitem__(self, index: Any, waiter: Any) -> None:
        """A cancelled upgrade is a reader in the same place: neither arrives, for us."""
        self._gone.add(self[index])
        super().__setitem__(index, waiter)

    def got(self) -> None:
        """The running coroutine has the lock."""
        waiter = self._waiting.pop(asyncio.current_task(), None)
        if waiter is not None:
            self._got.append(waiter)

    def gave_up(self) -> None:
        """The running coroutine was cancelled while it waited."""
        self._gone.add(self._waiting.pop(asyncio.current_task(), None))

    def granted(self) -> list[Any]:
        """Who got it, in that order."""
        return self._in_groups(self._got)

    def arrived(self) -> list[Any]:
        """Who came and did not give up, in that order."""
        return self._in_groups([waiter for waiter in self._arrived if waiter not in self._gone])

    @staticmethod
    def _in_groups(waiters: list[Any]) -> list[Any]:
        """Readers that come in together are one: which of them says so first is the threads' business."""
        groups: list[Any] = []
        for waiter in waiters:
            reads = getattr(waiter, "want", 0) == 1
            if reads and groups and isinstance(groups[-1], set):
                groups[-1].add(waiter)
            else:
                groups.append({waiter} if reads else waiter)
        return groups


def recorded(lock: LockT) -> tuple[LockT, Recorder]:
    """``lock`` with a Recorder for its queue."""
    recorder = Recorder()
    if isinstance(lock, Turnstile):
        lock._tickets = recorder
    else:
        lock._waiters = recorder
    return lock, recorder
