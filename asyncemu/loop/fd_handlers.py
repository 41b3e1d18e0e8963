# SPDX-License-Identifier: GPL-2.0-or-later
"""FdHandlers: the file descriptors that a context watches. QEMU: aio_set_fd_handler, aio_set_event_notifier.

Level-triggered. A handler may replace or remove any handler, its own included, while events are being handed out: who
has been removed is not called any more, also for an event that was there already.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import TYPE_CHECKING

from asyncemu.tracing import tracer

if TYPE_CHECKING:
    from asyncemu.loop.context import AioContext

Callback = Callable[[], object]


class _Handler:
    """One direction of one descriptor, as the loop calls it."""

    __slots__ = ("_callback", "_context", "_name", "removed")

    def __init__(self, context: AioContext, fd: int, callback: Callback) -> None:
        self._context = context
        self._callback = callback
        self._name = f"{getattr(callback, '__qualname__', 'handler')} fd {fd}"
        self.removed = False

    def __call__(self) -> None:
        if self.removed:
            return
        context = self._context
        context.woken()
        try:
            if tracer.on:
                start = monotonic_ns()
                self._callback()
                tracer.span("handler", self._name, start)
            else:
                self._callback()
        finally:
            context.settle()


class FdHandlers:
    """Home only; ``AioContext.set_fd_handler`` is for any thread."""

    def __init__(self, context: AioContext) -> None:
        self._context = context
        self._readers: dict[int, _Handler] = {}
        self._writers: dict[int, _Handler] = {}

    def replace(self, fd: int, on_readable: Callback | None, on_writable: Callback | None) -> None:
        """Instead of what ``fd`` had; None for nothing. OSError when ``fd`` can't be watched."""
        loop = self._context.loop
        self._replace(self._readers, fd, on_readable, loop.add_reader, loop.remove_reader)
        self._replace(self._writers, fd, on_writable, loop.add_writer, loop.remove_writer)

    def _replace(
        self,
        handlers: dict[int, _Handler],
        fd: int,
        callback: Callback | None,
        add: Callable[[int, Callback], object],
        remove: Callable[[int], object],
    ) -> None:
        old = handlers.get(fd)
        if callback is not None:
            handler = _Handler(self._context, fd, callback)
            add(fd, handler)  # may raise: epoll takes no regular files
            handlers[fd] = handler
        elif old is not None:
            del handlers[fd]
            remove(fd)
        if old is not None:
            # The loop may be about to call it: it has collected its events.
            old.removed = True

    def descriptors(self) -> set[int]:
        """Those that are watched."""
        return {*self._readers, *self._writers}

    def close(self) -> None:
        """Stop watching."""
        for fd in self.descriptors():
            self.replace(fd, None, None)
