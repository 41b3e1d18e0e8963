# SPDX-License-Identifier: GPL-2.0-or-later
"""Coroutine: a request in flight, begun in place, without a Task.

Why not asyncio.Task: a Task begins one loop turn later, which costs six to nine times an await in place, and most
requests never block. A Coroutine runs at once up to its first suspension; if it does not suspend, no Future, no Handle
and no loop turn was made. QEMU's qemu_coroutine_enter does the same.

What it guarantees:
- between two suspensions it runs in its home context only, and nothing else runs there;
- what asyncio calls the current task is this object while it runs, so ``asyncio.timeout``, ``asyncio.sleep`` and
  third-party awaitables work inside; the task that entered it is the current one again afterwards;
- an exception that nobody has asked for by the next round goes to the loop's exception handler, unless there is an
  ``on_done``, which is to look at ``error``.

What differs from a Task: up to the first suspension it sees and sets the context variables of its starter; from then on
it has its own. Cancelling who awaits it does not cancel it.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Generator
from collections.abc import Coroutine as PythonCoroutine
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

from asyncemu.loop import AioContext, home

ResultT = TypeVar("ResultT")


class Coroutine(Generic[ResultT]):
    """One Python coroutine with a home context. ``enter`` begins it; ``await`` it from another one for its result."""

    __slots__ = ("_body", "_cancel_requests", "_done", "_error", "_on_done", "_result", "_seen", "_to_throw",
                 "_variables", "_waiters", "_waits_for", "context")  # fmt: skip

    def __init__(
        self,
        context: AioContext,
        body: PythonCoroutine[Any, Any, ResultT],
        on_done: Callable[[Coroutine[ResultT]], object] | None = None,
    ) -> None:
        self.context = context
        self._done = False
        self._body = body
        self._on_done = on_done
        self._result: ResultT | None = None
        self._error: BaseException | None = None
        self._waits_for: asyncio.Future[Any] | None = None
        self._waiters: list[asyncio.Future[None]] | None = None
        #: Raised in the body at the next step.
        self._to_throw: BaseException | None = None
        self._variables: Context | None = None
        self._cancel_requests = 0
        #: Has anybody asked for the result or the error?
        self._seen = False

    @home
    def enter(self) -> bool:
        """Run up to the first suspension; True when that was the end already. ``on_done`` is called either way."""
        self._step(None)
        return self._done

    def _step(self, _: object) -> None:
        """Run from one suspension to the next; also the callback of the future that is waited for."""
        loop = self.context.loop
        self._waits_for = None
        outer = asyncio.current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, self)  # type: ignore[arg-type]
        try:
            if self._to_throw is None:
                awaited = self._body.send(None)
            else:
                to_throw, self._to_throw = self._to_throw, None
                awaited = self._body.throw(to_throw)
        except StopIteration as stop:
            self._result = stop.value
            self._done = True
        except BaseException as error:
            self._error = error
            self._done = True
        finally:
            _leave_task(loop, self)  # type: ignore[arg-type]
            if outer is not None:
                _enter_task(loop, outer)
        if self._done:
            self._finish()
        else:
            self._suspend(awaited)

    def _suspend(self, awaited: Any) -> None:
        """Be called again when ``awaited``, which the body has yielded, is done."""
        loop = self.context.loop
        if self._variables is None:
            self._variables = copy_context()
        if awaited is None:  # a bare yield, as in asyncio.sleep(0)
            loop.call_soon(self._step, None, context=self._variables)
        elif getattr(awaited, "_asyncio_future_blocking", None) and awaited.get_loop() is loop:
            awaited._asyncio_future_blocking = False
            self._waits_for = awaited
            awaited.add_done_callback(self._step, context=self._variables)
            # Cancelled while it ran.
            if self._to_throw is not None and awaited.cancel():
                self._to_throw = None
        else:
            # A step of another loop's future would be in another thread.
            self._to_throw = RuntimeError(f"{self.get_name()} awaits {awaited!r}, which is nothing of its loop's")
            loop.call_soon(self._step, None, context=self._variables)

    def _finish(self) -> None:
        awaited = False
        if self._waiters is not None:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
                    awaited = True
        if self._on_done is not None:
            self._on_done(self)
        elif self._error is not None and not awaited:
            # Later: the starter may be about to await it, as in ``await start(...)``.
            self.context.loop.call_soon(self._report)
        if self._error is not None and isinstance(self._error, (KeyboardInterrupt, SystemExit)):
            raise self._error

    def _report(self) -> None:
        if isinstance(self._error, Exception) and not self._seen:
            self.context.loop.call_exception_handler(
                {"message": f"nobody awaits {self.get_name()}", "exception": self._error}
            )

    def done(self) -> bool:
        """Has the body ended? A method, as in asyncio.Task: asyncio calls it."""
        return self._done

    def result(self) -> ResultT:
        """What the body returned; raises what it raised, or InvalidStateError when it is not ``done``."""
        if not self._done:
            raise asyncio.InvalidStateError(f"{self!r} is not done")
        self._seen = True
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    @property
    def error(self) -> BaseException | None:
        """What the body raised, or None."""
        self._seen = True
        return self._error

    def __await__(self) -> Generator[Any, None, ResultT]:
        if not self._done:
            waiter = self.context.loop.create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            yield from waiter
        return self.result()

    # ---- the part of asyncio.Task that code inside the body may use

    @home
    def cancel(self, msg: object = None) -> bool:
        """Raise CancelledError at the point of suspension. False when it is done already. As in asyncio.Task."""
        if self._done:
            return False
        self._cancel_requests += 1
        if self._waits_for is None or not self._waits_for.cancel(msg):
            self._to_throw = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
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
        return str(getattr(self._body, "__qualname__", self._body))

    def __repr__(self) -> str:
        return f"<Coroutine {self.get_name()} of {self.context.name}{' done' if self._done else ''}>"


def start(
    context: AioContext,
    body: PythonCoroutine[Any, Any, ResultT],
    on_done: Callable[[Coroutine[ResultT]], object] | None = None,
) -> Coroutine[ResultT]:
    """Make a Coroutine and enter it. Home context only."""
    coroutine = Coroutine(context, body, on_done)
    coroutine.enter()
    return coroutine
