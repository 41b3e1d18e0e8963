# SPDX-License-Identifier: GPL-2.0-or-later
"""Coroutine: a request in flight, begun in place, without a Task. QEMU: qemu_coroutine.

Why not asyncio.Task: a Task begins one loop turn later, which costs six to nine times an await in place, and most
requests never block. A Coroutine runs at once up to its first suspension; if it does not suspend, no Future, no Handle
and no loop turn was made.

    READY ---enter---> RUNNING ---returns, raises---> DONE
      ^                 |  |
      |     co_yield    |  | awaits a future
      +-----------------+  v
      ^                  AWAITING ---the future is done---> RUNNING
      |
      +-- schedule: SCHEDULED until its context enters it; ``wake`` from elsewhere is that too

What it guarantees:
- between two suspensions it runs in its home context only, and nothing else runs there;
- it changes its home only there, and is out of its step and out of its context variables by then. So all but
  ``scheduled_by`` and ``waiters`` is touched by its home's thread only, and a cancellation that finds it gone follows;
- what asyncio calls the current task is this object while it runs, so ``asyncio.timeout``, ``asyncio.sleep`` and
  third-party awaitables work inside; the task that entered it is the current one again afterwards;
- ``wake`` from inside another coroutine takes effect when that one yields, awaits or ends, in the order of the calls;
- to enter, wake or schedule one that runs, awaits or is scheduled is an error that names both places;
- an exception that nobody has asked for by the next round (of the context where it began, if it has moved) goes to the
  loop's exception handler, unless there is an ``on_done``, which is to look at ``error``.

What differs from a Task: up to its first await it sees and sets the context variables of whoever enters it, as a
generator does; from then on it has its own. Cancelling who awaits it does not cancel it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from collections.abc import Coroutine as PythonCoroutine
from contextvars import copy_context
from time import monotonic_ns
from types import CoroutineType
from typing import Any, Final, Generic, TypeVar

from asyncemu.coroutines import misuse
from asyncemu.coroutines.current_task import current_tasks
from asyncemu.coroutines.driver import DRIVERS_KEPT, ENDED, adapted, give_driver, idle_drivers, new_driver, take_driver
from asyncemu.coroutines.place import Place, caller
from asyncemu.coroutines.suspension import YIELD, More, Move
from asyncemu.coroutines.waiter import Waiter
from asyncemu.loop import AioContext, any_thread, home
from asyncemu.tracing import tracer

ResultT = TypeVar("ResultT")

#: States. Plain ints: READY is the false one, which makes the test at each entry the cheapest that there is.
READY: Final = 0
RUNNING: Final = 1
AWAITING: Final = 2
DONE: Final = 3

#: Held for the test-and-set of ``_more`` and ``scheduled_by``, and never while anything else is done: nothing is made
#: meanwhile, as that may collect garbage, and a finaliser may wake somebody.
_test_and_set: Final = threading.Lock()


class Coroutine(Generic[ResultT]):
    """One Python coroutine with a home context. ``enter`` begins it; ``await`` it from another one for its result."""

    __slots__ = ("__weakref__", "_body", "_error", "_more", "_on_done", "_result", "_send", "_state", "context")

    def __init__(
        self,
        context: AioContext,
        body: PythonCoroutine[Any, Any, ResultT],
        on_done: Callable[[Coroutine[ResultT]], object] | None = None,
    ) -> None:
        self.context = context
        self._body = body if type(body) is CoroutineType else adapted(body)
        self._on_done = on_done
        self._state = READY
        self._more: More | None = None
        #: Of the driver that has the body, once it has suspended.
        self._send: Any = None
        # Set when it is DONE.
        self._result: ResultT
        self._error: BaseException | None

    def _needs_more(self) -> More:
        more = self._more
        if more is None:
            made = More()
            with _test_and_set:
                more = self._more
                if more is None:
                    self._more = more = made
        return more

    # ---- entering

    @home
    def enter(self) -> bool:
        """Begin it, or go on behind ``co_yield``; True when it has ended. ``on_done`` is called either way.

        Returns at its next suspension. CoroutineMisuse when it runs, awaits, is scheduled or has ended. QEMU:
        qemu_coroutine_enter.
        """
        if self._state or self._more is not None or tracer.on:
            return self._enter()
        # As _step, for the many that have never awaited: written out, as this is what a request costs at the least. (A
        # call of the table's get would be 50 ns more.)
        loop = self.context.loop
        outer = current_tasks[loop] if loop in current_tasks else None  # noqa: SIM401
        current_tasks[loop] = self
        self._state = RUNNING
        send = self._send
        try:
            if send is not None:
                awaited = send(None)
            else:
                try:
                    send = take_driver()
                except IndexError:
                    send = new_driver()
                awaited = send(self._body)
        except BaseException as error:
            self._error = error
            self._state = DONE
            awaited = None
        if outer is None:
            del current_tasks[loop]
        else:
            current_tasks[loop] = outer
        if awaited is YIELD:
            self._send = send
            if self._more is None:
                self._state = READY
                return False
        elif type(awaited) is tuple and awaited[0] is ENDED:
            self._result = awaited[1]
            self._error = None
            self._state = DONE
            if self._send is None or len(idle_drivers) < DRIVERS_KEPT:
                give_driver(send)
            if self._on_done is None and self._more is None:
                return True
        else:
            self._send = send
        woken = self._after_step(awaited)
        if woken:
            _enter_woken(woken)
        return self._state == DONE

    def _enter(self) -> bool:
        """``enter`` in general."""
        more = self._more
        if self._state or (more is not None and more.scheduled_by is not None):
            raise misuse.entered(self, caller(2))
        woken = self._run()
        if woken:
            _enter_woken(woken)
        return self.done()

    @home
    def enter_if_inactive(self) -> bool:
        """``enter`` unless it runs, awaits, is scheduled or has ended; True when it has ended.

        QEMU: qemu_coroutine_enter_if_inactive.
        """
        if self._state or (self._more is not None and self._more.scheduled_by is not None):
            return self._state == DONE
        return self.enter()

    @any_thread
    def wake(self) -> None:
        """Go on behind ``co_yield``, in its own context.

        At home and outside of coroutines: in place. From inside another one: when that one yields, awaits or ends. From
        another thread: in the next round. QEMU: aio_co_wake.
        """
        context = self.context
        if not context.in_home():
            self._schedule(context, caller())
            return
        running = asyncio.current_task(context.loop)
        if isinstance(running, Coroutine):
            place = caller()
            if self._state:
                raise misuse.entered(self, place)
            self._mark_scheduled(place)
            running._needs_more().woken.append(self)
        else:
            self.enter()

    @any_thread
    def schedule(self, context: AioContext) -> None:
        """Enter it in ``context``, its home from then on, in that one's next round. QEMU: aio_co_schedule.

        It may still be running, if it is about to ``co_yield``.
        """
        self._schedule(context, caller())

    def _schedule(self, context: AioContext, place: Place) -> None:
        self._mark_scheduled(place)
        home = self.context
        if context is home:
            self._post()
        elif self._state == READY and home.in_home():
            self._move(context)
        else:
            # Its home lets go of it, when it has yielded; QEMU goes the same way round.
            home.schedule_oneshot(lambda: self._move(context))

    def _mark_scheduled(self, place: Place) -> None:
        earlier = self._test_and_mark(place)
        if earlier is not None:
            raise misuse.scheduled_twice(self, earlier, place)

    def _test_and_mark(self, place: Place) -> Place | None:
        """Who has scheduled it already; None: we have, now."""
        more = self._needs_more()
        with _test_and_set:
            earlier = more.scheduled_by
            if earlier is None:
                more.scheduled_by = place
        return earlier

    def _move(self, context: AioContext) -> None:
        """With it scheduled, at home: this thread must not touch it any more afterwards."""
        more = self._needs_more()
        if self._state:
            self._enter_scheduled()  # which is an error
        if more.began_in is None:
            more.began_in = self.context
        self.context = context
        self._post()

    def _post(self) -> None:
        self.context.bh_new(self._enter_scheduled, self.get_name()).schedule()

    def _enter_scheduled(self) -> None:
        more = self._needs_more()
        place, more.scheduled_by = more.scheduled_by, None
        if self._state and place is not None:
            raise misuse.entered(self, place)
        self.enter()

    # ---- one step

    def _run(self) -> Sequence[Coroutine[Any]]:
        """One step, with context variables of its own if it has any; whom it has woken."""
        if self._more is None or self._more.variables is None:
            awaited = self._step()
        else:
            awaited = self._more.variables.run(self._step)
        # Not inside of ``variables.run``: another thread may be about to enter them.
        return self._after_step(awaited)

    def _step(self) -> Any:
        """Run from one suspension to the next; what the body has yielded."""
        start = monotonic_ns() if tracer.on else 0
        loop = self.context.loop
        more = self._more
        outer = current_tasks[loop] if loop in current_tasks else None  # noqa: SIM401
        current_tasks[loop] = self
        self._state = RUNNING
        send = self._send
        awaited: Any = None
        try:
            if more is not None and more.to_throw is not None:
                to_throw, more.to_throw = more.to_throw, None
                awaited = (self._body.throw if send is None else send.__self__.throw)(to_throw)
            elif send is not None:
                awaited = send(None)
            else:
                try:
                    send = take_driver()
                except IndexError:
                    send = new_driver()
                self._send = send
                awaited = send(self._body)
            if type(awaited) is tuple and awaited[0] is ENDED:
                self._result = awaited[1]
                self._error = None
                self._state = DONE
                if send is not None and len(idle_drivers) < DRIVERS_KEPT:
                    give_driver(send)
        except BaseException as error:
            self._error = error
            self._state = DONE
        if outer is None:
            del current_tasks[loop]
        else:
            current_tasks[loop] = outer
        if start:
            tracer.span("coroutine", self.get_name(), start)
        return awaited

    def _after_step(self, awaited: Any) -> Sequence[Coroutine[Any]]:
        """It has ended, or yielded ``awaited``. Whom it has woken: to be entered now."""
        more = self._more
        woken: Sequence[Coroutine[Any]] = ()
        if more is not None and more.woken:
            # Before it may go on in another thread, and wake others there.
            woken, more.woken = more.woken, []
        try:
            if self._state == DONE:
                try:
                    if self._on_done is not None:
                        self._on_done(self)
                finally:
                    if self._error is not None or self._more is not None:
                        self._finish()
            elif awaited is YIELD:
                self._state = READY
                if more is not None and more.to_throw is not None:  # cancelled while it ran
                    self._enter_cancelled(caller())
            else:
                self._suspend(awaited)
        except BaseException:
            _enter_later(woken)
            raise
        return woken

    def _suspend(self, awaited: Any) -> None:
        """Be called again when ``awaited``, which the body has yielded, is done."""
        more = self._needs_more()
        if more.variables is None:
            more.variables = copy_context()
        if type(awaited) is Move:
            self._state = READY
            self._schedule(awaited.context, awaited.place)
            return
        self._state = AWAITING
        loop, neutral = self.context.loop, self.context.variables
        if awaited is None:  # a bare yield, as in asyncio.sleep(0)
            loop.call_soon(self._go_on, None, context=neutral)
        elif getattr(awaited, "_asyncio_future_blocking", None) and awaited.get_loop() is loop:
            awaited._asyncio_future_blocking = False
            more.waits_for = awaited
            awaited.add_done_callback(self._go_on, context=neutral)
            # Cancelled while it ran.
            if more.to_throw is not None and awaited.cancel(*more.to_throw.args):
                more.to_throw = None
        else:
            # A step of another loop's future would be in another thread.
            more.to_throw = RuntimeError(f"{self.get_name()} awaits {awaited!r}, which is nothing of its loop's")
            loop.call_soon(self._go_on, None, context=neutral)

    def _go_on(self, _: object) -> None:
        """What the body waited for is done."""
        self._needs_more().waits_for = None
        self.context.activity += 1
        woken = self._run()
        if woken:
            _enter_woken(woken)

    def _finish(self) -> None:
        """Who awaits it goes on; an error must not be lost."""
        more, context, awaited = self._more, self.context, False
        if more is not None:
            context = more.began_in or context
            waiters, more.waiters = more.waiters, []
            for waiter in waiters:
                waiter.wake()
                awaited = True
        if self._error is not None and not awaited and self._on_done is None:
            # Later: the starter may be about to await it, as in ``await start(...)``.
            if context is self.context:
                context.loop.call_soon(self._report, context)
            else:
                context.schedule_oneshot(lambda: self._report(context))
        if isinstance(self._error, (KeyboardInterrupt, SystemExit)):
            raise self._error

    def _report(self, context: AioContext) -> None:
        if isinstance(self._error, Exception) and not (self._more is not None and self._more.seen):
            message = f"nobody awaits {self.get_name()}"
            context.loop.call_exception_handler({"message": message, "exception": self._error})

    # ---- the outcome

    @any_thread
    def entered(self) -> bool:
        """Is it running, or has it entered one that is? QEMU: qemu_coroutine_entered."""
        return self._state == RUNNING

    @any_thread
    def done(self) -> bool:
        """Has the body ended? A method, as in asyncio.Task: asyncio calls it."""
        return self._state == DONE

    @any_thread
    def result(self) -> ResultT:
        """What the body returned; raises what it raised, or InvalidStateError when it is not ``done``."""
        if self._state != DONE:
            raise asyncio.InvalidStateError(f"{self!r} is not done")
        if self._error is not None:
            self._needs_more().seen = True
            raise self._error
        return self._result

    @property
    def error(self) -> BaseException | None:
        """What the body raised, or None."""
        if self._state != DONE or self._error is None:
            return None
        self._needs_more().seen = True
        return self._error

    @any_thread
    def __await__(self) -> Generator[Any, None, ResultT]:
        if self._state != DONE:
            running: object = asyncio.current_task()
            if running is self:
                raise RuntimeError(f"{self!r} awaits itself")
            more, waiter = self._needs_more(), Waiter()
            more.waiters.append(waiter)
            # It may have ended just now in another thread, and not have seen us.
            if self._state != DONE:
                try:
                    yield from waiter.wait().__await__()
                except BaseException:
                    try:
                        more.waiters.remove(waiter)
                    except ValueError:
                        # It has ended and counts on us to look at its error.
                        context = self.context
                        context.schedule_oneshot(lambda: self._report(context))
                    raise
        return self.result()

    # ---- the part of asyncio.Task that code inside the body may use

    @any_thread
    def cancel(self, msg: object = None) -> bool:
        """Raise CancelledError at the point of suspension. False when it is done already. As in asyncio.Task.

        From another thread it is asked for in the next round, and the answer is True.
        """
        if self._state == DONE:
            return False
        context = self.context
        if not context.in_home():
            # Should it have moved on by then, this follows.
            context.schedule_oneshot(lambda: self.cancel(msg))
            return True
        more = self._needs_more()
        more.cancel_requests += 1
        if more.waits_for is None or not more.waits_for.cancel(msg):
            more.to_throw = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
            if self._state == READY and self._send is not None:
                self._enter_cancelled(caller())
        return True

    def _enter_cancelled(self, place: Place) -> None:
        """It has yielded, and whoever was to enter it need not come any more. Who is on the way does it for us."""
        if self._test_and_mark(place) is None:
            self._post()

    @any_thread
    def cancelling(self) -> int:
        """How many cancellations have been asked for and not been taken back. As in asyncio.Task."""
        return self._more.cancel_requests if self._more is not None else 0

    @any_thread
    def uncancel(self) -> int:
        """Take one cancellation back. As in asyncio.Task."""
        more = self._needs_more()
        if more.cancel_requests:
            more.cancel_requests -= 1
        return more.cancel_requests

    @any_thread
    def get_name(self) -> str:
        """The body's qualified name."""
        return str(getattr(self._body, "__qualname__", self._body))

    def __repr__(self) -> str:
        return f"<Coroutine {self.get_name()} of {self.context.name}{' done' if self.done() else ''}>"


def _enter_woken(woken: Sequence[Coroutine[Any]]) -> None:
    """In that order, and those that each of them wakes right behind that one."""
    # A list and not a recursion: they may go on waking each other as long as they like.
    pending = deque(woken)
    while pending:
        first = pending.popleft()
        first._needs_more().scheduled_by = None
        try:
            pending.extendleft(reversed(first._run()))
        except BaseException:
            _enter_later(pending)
            raise


def _enter_later(woken: Iterable[Coroutine[Any]]) -> None:
    """Somebody's ``on_done`` has raised, or the program is to end: they must not suffer from it."""
    for each in woken:
        each._post()


def start(
    context: AioContext,
    body: PythonCoroutine[Any, Any, ResultT],
    on_done: Callable[[Coroutine[ResultT]], object] | None = None,
) -> Coroutine[ResultT]:
    """Make a Coroutine and enter it. Home context only."""
    made = Coroutine(context, body, on_done)
    made.enter()
    return made
