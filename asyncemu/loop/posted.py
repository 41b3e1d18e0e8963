# SPDX-License-Identifier: GPL-2.0-or-later
"""PostedQueue: posted writes and fenced reads, the second of the six rules.

A vCPU thread posts what a write has as its consequence; the home context does it later, in order. Before a read whose
value depends on such consequences, the vCPU thread waits at a fence until all that it has posted is done, as reads push
posted writes ahead of them on a bus.

Why a fence can't deadlock: the home context never waits for a vCPU thread without running its loop (stopping a vCPU is
awaited), so posted work is always done in the end; and ``close`` releases everybody.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Coroutine
from time import monotonic_ns
from types import CoroutineType
from typing import Any, Final

from asyncemu.loop.context import AioContext
from asyncemu.loop.markers import any_thread, home, vcpu_thread
from asyncemu.tracing import tracer

#: Entries that wait before the guest has to: more than any driver writes in a row without reading.
MAX_OUTSTANDING: Final = 64


class _Fence:
    """An entry that lets the vCPU thread behind it go."""

    __slots__ = ("passed",)

    def __init__(self) -> None:
        self.passed = threading.Lock()
        self.passed.acquire()

    def __call__(self) -> None:
        self.passed.release()


class PostedQueue:
    """Work for one home context, done in the order in which it was posted.

    An entry is a plain function, or a function that returns a coroutine: then the entries behind it wait until it has
    ended (a reset that waits for requests in flight, say). What a function raises goes to ``on_error``, and the entries
    behind it are done. ``start`` is passed in because coroutines live a layer higher: it begins a coroutine in place
    and returns True when it ended at once; when it did not, it returns False and calls back at home when it has. It
    reports the coroutine's errors itself.
    """

    def __init__(
        self,
        context: AioContext,
        start: Callable[[Coroutine[Any, Any, Any], Callable[[], None]], bool],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self.context = context
        self._start = start
        self._on_error = on_error
        self._entries: deque[Callable[[], Coroutine[Any, Any, Any] | None]] = deque()
        # Invariant for fence(): an entry that has been taken from _entries and is not done yet has _busy set, and _busy
        # was set before it was taken.
        self._busy = False
        self._suspended = False
        self._closed = False
        self._bottom_half = context.bh_new(self._drain, "posted-writes", "posted")

    @any_thread
    def post(self, work: Callable[[], Coroutine[Any, Any, Any] | None]) -> None:
        """Do ``work()`` at home, after all that was posted before. Returns at once."""
        if self._closed:
            return
        self._entries.append(work)
        self._bottom_half.schedule()

    @vcpu_thread
    def make_room(self) -> None:
        """Wait, when much is outstanding: a guest that writes faster than home works must not fill the host's memory.

        Call it where no lock is held that a handler at home may want.
        """
        if len(self._entries) >= MAX_OUTSTANDING:
            self.fence()

    @property
    def idle(self) -> bool:
        """Is everything done that was posted?"""
        return not self._entries and not self._busy

    @vcpu_thread
    def fence(self) -> None:
        """Wait until all that this thread has posted is done. Costs nothing when nothing is outstanding."""
        # Entries first: looked at the other way round, an entry could move from waiting to done between the looks.
        if self._entries or self._busy:
            self._wait_for(_Fence())

    @vcpu_thread
    def call(self, function: Callable[[], Any]) -> Any:
        """The value of ``function()`` at home, behind all that was posted; a coroutine's result is waited for.

        None when it raised (``on_error`` or ``start`` has got the error) or when the queue was closed meanwhile.
        """
        result: Any = None

        def call() -> Coroutine[Any, Any, Any] | None:
            nonlocal result
            value = function()
            if type(value) is CoroutineType:
                return keep(value)
            result = value
            return None

        async def keep(value: Coroutine[Any, Any, Any]) -> None:
            nonlocal result
            result = await value

        self._entries.append(call)
        self._wait_for(_Fence())
        return result

    def _wait_for(self, fence: _Fence) -> None:
        self._entries.append(fence)
        self._bottom_half.schedule()
        # close() sets the flag before it empties the queue: either it finds this fence there, or it is seen here.
        if not self._closed:
            start = monotonic_ns() if tracer.on else 0
            fence.passed.acquire()
            if start:
                tracer.span("fence", self.context.name, start)

    @home
    def move(self, context: AioContext) -> None:
        """Do the work in ``context`` from now on.

        For the coroutine of an entry, which then goes on and ends there: what is posted meanwhile waits behind it.
        """
        self._bottom_half.move(context)
        self.context = context

    @home
    def close(self) -> None:
        """Drop what has not begun and let every waiting thread go."""
        self._closed = True
        self._release_waiters()

    def _release_waiters(self) -> None:
        while self._entries:
            entry = self._entries.popleft()
            if isinstance(entry, _Fence):
                entry()

    def _drain(self) -> None:
        if self._suspended:
            return
        self._busy = True
        try:
            # Bounded by what is there now; the rest gets a round of its own.
            for _ in range(len(self._entries)):
                # Closed by an entry, or before this round: what is left has been dropped or came too late.
                if self._closed or not self._entries:
                    break
                self._do(self._entries.popleft())
                if self._suspended:
                    return
        finally:
            if not self._suspended:
                self._settle()

    def _do(self, work: Callable[[], Coroutine[Any, Any, Any] | None]) -> None:
        try:
            coroutine = work()
            if coroutine is not None:
                self._suspended = not self._start(coroutine, self._resume)
        except Exception as error:
            self._on_error(error)

    def _settle(self) -> None:
        self._busy = False
        if self._closed:
            self._release_waiters()
        elif self._entries:
            self._bottom_half.schedule()

    def _resume(self) -> None:
        self._suspended = False
        self._drain()
