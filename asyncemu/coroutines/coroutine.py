# SPDX-License-Identifier: GPL-2.0-or-later
"""Coroutine: a request in flight, begun in place, without a Task.

Why not asyncio.Task: a Task begins one loop turn later, which costs six to nine times an await in place, and most
requests never block. A Coroutine runs at once up to its first suspension; if it does not suspend, no Future, no Handle
and no loop turn was made. QEMU's qemu_coroutine_enter does the same.

What it guarantees:
- between two suspensions it runs in its home context only, and nothing else runs there;
- what asyncio calls the current task is this object while it runs, so ``asyncio.timeout``, ``asyncio.sleep`` and
  third-party awaitables work inside; the task that entered it is the current one again afterwards;
- an exception that nobody awaits goes to the loop's exception handler.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task  # type: ignore[attr-defined]
from collections.abc import Callable, Generator
from collections.abc import Coroutine as PythonCoroutine
from typing import Any, Generic, TypeVar

from asyncemu.loop import AioContext, home

ResultT = TypeVar("ResultT")


class Coroutine(Generic[ResultT]):
    """One Python coroutine with a home context. ``enter`` begins it; ``await`` it from another one for its result."""

    __slots__ = ("_body", "_cancel_requests", "_error", "_must_cancel", "_on_done", "_result", "_waiters", "_waits_for",
                 "context", "done")  # fmt: skip

    def __init__(
        self,
        context: AioContext,
        body: PythonCoroutine[Any, Any, ResultT],
        on_done: Callable[[Coroutine[ResultT]], object] | None = None,
    ) -> None:
        self.context = context
        self.done = False
        self._body = body
        self._on_done = on_done
        self._result: ResultT | None = None
        self._error: BaseException | None = None
        self._waits_for: asyncio.Future[Any] | None = None
        self._waiters: list[asyncio.Future[None]] | None = None
        self._must_cancel = False
        self._cancel_requests = 0

    @home
    def enter(self) -> bool:
        """Run up to the first suspension; True when that was the end already. ``on_done`` is called either way."""
        self._step(None)
        return self.done

    def _step(self, _: object) -> None:
        """Run from one suspension to the next; also the callback of the future that is waited for."""
        loop = self.context.loop
        self._waits_for = None
        outer = asyncio.current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, self)
        try:
            if self._must_cancel:
                self._must_cancel = False
                awaited = self._body.throw(asyncio.CancelledError())
            else:
                awaited = self._body.send(None)
        except StopIteration as stop:
            self._result = stop.value
            self.done = True
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._error = error
            self.done = True
        finally:
            _leave_task(loop, self)
            if outer is not None:
                _enter_task(loop, outer)
        if self.done:
            self._finish()
        elif awaited is None:
            loop.call_soon(self._step, None)
        elif getattr(awaited, "_asyncio_future_blocking", None):
            awaited._asyncio_future_blocking = False
            self._waits_for = awaited
            awaited.add_done_callback(self._step)
            if self._must_cancel and awaited.cancel():
                self._must_cancel = False
        else:
            message = f"{self._body.__qualname__} awaits {awaited!r}, which is not an asyncio awaitable"
            self._error = RuntimeError(message)
            self.done = True
            self._body.close()
            self._finish()

    def _finish(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        if self._on_done is not None:
            self._on_done(self)
        elif self._error is not None and not waiters and not isinstance(self._error, asyncio.CancelledError):
            self.context.loop.call_exception_handler(
                {"message": f"nobody awaits {self._body.__qualname__}", "exception": self._error}
            )

    def result(self) -> ResultT:
        """What the body returned; raises what it raised. Only when ``done``."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    @property
    def error(self) -> BaseException | None:
        """What the body raised, or None."""
        return self._error

    def __await__(self) -> Generator[Any, None, ResultT]:
        if not self.done:
            waiter = self.context.loop.create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            yield from waiter
        return self.result()

    # ---- the part of asyncio.Task that code inside the body may use

    @home
    def cancel(self, msg: object = None) -> bool:
        """Raise CancelledError at the point of suspension. False when it is done already."""
        if self.done:
            return False
        self._cancel_requests += 1
        if self._waits_for is None or not self._waits_for.cancel(msg):
            self._must_cancel = True
        return True

    def cancelling(self) -> int:
        """How many cancellations have been asked for and not been taken back. As in asyncio.Task."""
        return self._cancel_requests

    def uncancel(self) -> int:
        """Take one cancellation back. As in asyncio.Task."""
        if self._cancel_requests:
            self._cancel_requests -= 1
        return self._cancel_requests

    def get_name(self) -> str:
        """The body's qualified name."""
        return self._body.__qualname__

    def __repr__(self) -> str:
        return f"<Coroutine {self.get_name()} of {self.context.name}{' done' if self.done else ''}>"


def start(
    context: AioContext,
    body: PythonCoroutine[Any, Any, ResultT],
    on_done: Callable[[Coroutine[ResultT]], object] | None = None,
) -> Coroutine[ResultT]:
    """Make a Coroutine and enter it. Home context only."""
    coroutine = Coroutine(context, body, on_done)
    coroutine.enter()
    return coroutine
