# SPDX-License-Identifier: GPL-2.0-or-later
"""Coroutine: begun in place, without a Task, and yet at home in asyncio."""

from __future__ import annotations

import asyncio
import socket
import weakref
from contextvars import ContextVar
from typing import Any, TypeVar

import pytest

from asyncemu.coroutines import Coroutine, co_yield, start
from asyncemu.loop import AioContext
from asyncemu.loop.markers import WrongThread

pytestmark = pytest.mark.both_loops

ValueT = TypeVar("ValueT")


@pytest.fixture
async def gate() -> asyncio.Future[Any]:
    """What a body waits for until the test says so."""
    return asyncio.get_running_loop().create_future()


class CountingLoop:
    """A loop that notes what is made of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.asked_for: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked_for.append(name)
        return getattr(self._loop, name)


async def returns(value: int) -> int:
    return value


async def raises(error: BaseException) -> None:
    raise error


async def waits_for(future: asyncio.Future[ValueT]) -> ValueT:
    return await future


# ---- begin and end


async def test_start_runs_in_place_up_to_the_first_suspension(context: AioContext, gate: asyncio.Future[None]) -> None:
    log: list[str] = []

    async def body() -> None:
        log.append("begun")
        await gate
        log.append("ended")

    coroutine = start(context, body())
    in_place = (list(log), coroutine.done())
    gate.set_result(None)
    await coroutine

    assert in_place == (["begun"], False)
    assert (log, coroutine.done()) == (["begun", "ended"], True)


async def test_start_body_that_does_not_suspend_is_done_with_its_result(context: AioContext) -> None:
    async def body() -> int:
        return await returns(1) + await returns(2)

    coroutine = start(context, body())

    assert (coroutine.done(), coroutine.result(), coroutine.error) == (True, 3, None)


async def test_start_body_that_does_not_suspend_asks_nothing_of_the_loop(
    context: AioContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Future, no Handle, no Task."""
    loop = CountingLoop(context.loop)
    monkeypatch.setattr(context, "loop", loop)

    async def body() -> int:
        return await returns(1)

    ended: list[int] = []
    start(context, body(), lambda coroutine: ended.append(coroutine.result()))
    monkeypatch.undo()

    assert (ended, loop.asked_for) == ([1], [])


async def test_enter_tells_whether_it_is_done(context: AioContext, gate: asyncio.Future[None]) -> None:
    quick, slow = Coroutine(context, returns(1)), Coroutine(context, waits_for(gate))

    entered = (quick.enter(), slow.enter())
    gate.set_result(None)
    await slow

    assert entered == (True, False)


@pytest.mark.usefixtures("expected_violations")
async def test_enter_in_another_thread_is_refused(context: AioContext, expected_violations: list[str]) -> None:
    coroutine = Coroutine(context, returns(1))

    with pytest.raises(WrongThread, match=r"Coroutine.enter belongs to <AioContext test>"):
        await asyncio.to_thread(coroutine.enter)
    coroutine.enter()


async def test_result_not_done_is_an_error(context: AioContext, gate: asyncio.Future[None]) -> None:
    coroutine = start(context, waits_for(gate))

    with pytest.raises(asyncio.InvalidStateError, match=r"<Coroutine waits_for of test> is not done"):
        coroutine.result()
    gate.set_result(None)
    await coroutine


async def test_steps_between_suspensions_are_not_interleaved(context: AioContext) -> None:
    log: list[str] = []

    async def body(name: str) -> None:
        for _ in range(2):
            log.extend([name, name])
            await asyncio.sleep(0)

    coroutines = [start(context, body(name)) for name in "ab"]
    for coroutine in coroutines:
        await coroutine

    assert "".join(log) == "aabbaabb"


@pytest.mark.parametrize("how", ["generator", "Cython's"])
async def test_body_that_is_no_native_coroutine_runs_under_its_name(context: AioContext, how: str) -> None:
    """uvloop's own are Cython's; on asyncio they are as any."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        bodies: dict[str, Any] = {"generator": co_yield, "Cython's": lambda: context.loop.sock_recv(ours, 1)}
        coroutine = start(context, bodies[how]())
        theirs.send(b"x")
        coroutine.wake() if how == "generator" else await coroutine

    assert (coroutine.result(), coroutine.get_name()[-9:]) in [(None, "co_yield"), (b"x", "sock_recv")]


class Thing:
    """Something that one can hold weakly."""


async def test_result_ended_and_dropped_is_kept_by_nobody(context: AioContext) -> None:
    async def body(suspends: bool) -> Thing:
        if suspends:
            await co_yield()
        return Thing()

    quick, slow = start(context, body(False)), start(context, body(True))
    slow.enter()
    results = [weakref.ref(quick.result()), weakref.ref(slow.result())]
    del quick, slow

    assert [result() for result in results] == [None, None]


async def test_dropped_while_suspended_closes_the_body_at_once(context: AioContext) -> None:
    log: list[str] = []

    async def body() -> None:
        try:
            await co_yield()
        finally:
            log.append("closed")

    coroutine = start(context, body())
    del coroutine

    assert log == ["closed"]


async def test_body_that_raised_is_followed_by_one_that_does_not(context: AioContext) -> None:
    """Many are nested, so that all idle drivers are in use."""

    async def nest(depth: int) -> int:
        if depth == 0:
            raise ValueError("broken")
        try:
            return await start(context, nest(depth - 1)) + 1
        except ValueError:
            return 0

    assert [start(context, nest(100)).result() for _ in range(3)] == [99] * 3


# ---- on_done


async def test_on_done_in_place_is_called_once_with_the_coroutine(context: AioContext) -> None:
    called: list[Coroutine[int]] = []

    coroutine = start(context, returns(1), called.append)
    await asyncio.sleep(0)

    assert called == [coroutine]


async def test_on_done_after_a_suspension_is_called_once_with_the_coroutine(
    context: AioContext, gate: asyncio.Future[int]
) -> None:
    called: list[Coroutine[int]] = []

    coroutine = start(context, waits_for(gate), called.append)
    before = list(called)
    gate.set_result(1)
    await coroutine
    await asyncio.sleep(0)

    assert (before, called) == ([], [coroutine])


async def test_on_done_sees_the_error_and_nothing_is_reported(
    context: AioContext, reported: list[dict[str, Any]]
) -> None:
    errors: list[BaseException | None] = []
    error = ValueError("broken")

    start(context, raises(error), lambda coroutine: errors.append(coroutine.error))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert (errors, reported) == ([error], [])


async def test_on_done_cancelled_is_called_once(context: AioContext, gate: asyncio.Future[None]) -> None:
    errors: list[BaseException | None] = []
    coroutine = start(context, waits_for(gate), lambda coroutine: errors.append(coroutine.error))

    coroutine.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert [type(error) for error in errors] == [asyncio.CancelledError]


# ---- awaiting it


async def test_await_from_a_task_gives_the_result(context: AioContext, gate: asyncio.Future[int]) -> None:
    coroutine = start(context, waits_for(gate))
    context.loop.call_soon(gate.set_result, 5)

    assert await coroutine == 5


async def test_await_from_a_coroutine_gives_the_result(context: AioContext, gate: asyncio.Future[int]) -> None:
    inner = start(context, waits_for(gate))

    async def body() -> int:
        return await inner + 1

    outer = start(context, body())
    gate.set_result(5)

    assert await outer == 6


async def test_await_by_several_all_get_the_result(context: AioContext, gate: asyncio.Future[int]) -> None:
    coroutine = start(context, waits_for(gate))

    async def awaits() -> int:
        return await coroutine

    waiters = [asyncio.ensure_future(awaits()) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set_result(5)

    assert await asyncio.gather(*waiters) == [5, 5, 5]


async def test_await_twice_gives_the_result_twice(context: AioContext) -> None:
    coroutine = start(context, returns(5))

    assert (await coroutine, await coroutine) == (5, 5)


async def test_await_raises_what_the_body_raised(
    context: AioContext, gate: asyncio.Future[None], reported: list[dict[str, Any]]
) -> None:
    error = ValueError("broken")
    coroutine = start(context, waits_for(gate))
    context.loop.call_soon(gate.set_exception, error)

    with pytest.raises(ValueError, match="broken") as raised:
        await coroutine
    await asyncio.sleep(0)

    assert (raised.value, reported) == (error, [])


async def test_await_at_once_of_a_body_that_raised_in_place_reports_nothing(
    context: AioContext, reported: list[dict[str, Any]]
) -> None:
    with pytest.raises(ValueError, match="broken"):
        await start(context, raises(ValueError("broken")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert reported == []


# ---- errors that nobody hears of


async def test_error_nobody_asks_for_is_reported(context: AioContext, reported: list[dict[str, Any]]) -> None:
    error = ValueError("broken")

    start(context, raises(error))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert reported == [{"message": "nobody awaits raises", "exception": error}]


async def test_error_whose_waiter_has_been_cancelled_is_reported(
    context: AioContext, gate: asyncio.Future[None], reported: list[dict[str, Any]]
) -> None:
    error = ValueError("broken")
    coroutine = start(context, waits_for(gate))

    async def awaits() -> None:
        await coroutine

    waiter = asyncio.ensure_future(awaits())
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter])
    gate.set_exception(error)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert [each["exception"] for each in reported] == [error]


async def test_error_cancelled_and_nobody_asks_is_not_reported(
    context: AioContext, gate: asyncio.Future[None], reported: list[dict[str, Any]]
) -> None:
    coroutine = start(context, waits_for(gate))

    coroutine.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert (coroutine.done(), reported) == (True, [])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_interrupt_leaves_the_loop_s_step_and_ends_the_coroutine(
    context: AioContext, kind: type[BaseException]
) -> None:
    ended: list[Coroutine[None]] = []

    with pytest.raises(kind):
        start(context, raises(kind()), ended.append)

    assert [type(coroutine.error) for coroutine in ended] == [kind]


# ---- what asyncio takes it for


async def test_current_task_is_the_coroutine_while_it_runs_and_the_starter_s_afterwards(
    context: AioContext, gate: asyncio.Future[None]
) -> None:
    seen: list[object] = []
    me = asyncio.current_task()

    async def inner() -> None:
        seen.append(asyncio.current_task())
        await gate
        seen.append(asyncio.current_task())

    async def outer() -> Coroutine[None]:
        inner_coroutine = start(context, inner())
        seen.append(asyncio.current_task())
        await inner_coroutine
        return inner_coroutine

    outer_coroutine = start(context, outer())
    after_start = asyncio.current_task()
    gate.set_result(None)
    inner_coroutine = await outer_coroutine

    assert (after_start, asyncio.current_task()) == (me, me)
    assert seen == [inner_coroutine, outer_coroutine, inner_coroutine]


async def test_current_task_from_a_callback_is_none_afterwards(context: AioContext) -> None:
    seen: list[object] = []
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def callback() -> None:
        start(context, returns(1))
        seen.append(asyncio.current_task())
        ended.set_result(None)

    context.loop.call_soon(callback)
    await ended

    assert seen == [None]


async def test_current_task_is_restored_when_the_body_raises(context: AioContext) -> None:
    me = asyncio.current_task()

    with pytest.raises(ValueError, match="broken"):
        await start(context, raises(ValueError("broken")))

    assert asyncio.current_task() is me


async def test_timeout_inside_expires(context: AioContext, gate: asyncio.Future[None]) -> None:
    async def body() -> str:
        try:
            async with asyncio.timeout(0.001):
                await gate
        except TimeoutError:
            return "expired"
        return "ended"

    coroutine = start(context, body())

    assert (await coroutine, coroutine.cancelling()) == ("expired", 0)


async def test_timeout_inside_not_reached_is_nothing(context: AioContext) -> None:
    async def body() -> str:
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return "ended"

    assert await start(context, body()) == "ended"


async def test_wait_for_inside_expires(context: AioContext, gate: asyncio.Future[None]) -> None:
    async def body() -> None:
        await asyncio.wait_for(gate, 0.001)

    with pytest.raises(TimeoutError):
        await start(context, body())


@pytest.mark.parametrize("seconds", [0, 0.0001])
async def test_sleep_inside_goes_on(context: AioContext, seconds: float) -> None:
    assert await start(context, asyncio.sleep(seconds, "slept")) == "slept"


async def test_gather_inside_gives_all_results(context: AioContext) -> None:
    async def body() -> list[int]:
        return await asyncio.gather(*[returns(1), returns(2), asyncio.sleep(0, 3)])

    assert await start(context, body()) == [1, 2, 3]


async def test_task_group_inside_gives_all_results(context: AioContext) -> None:
    async def body() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(returns(number)) for number in range(3)]
        return [task.result() for task in tasks]

    assert await start(context, body()) == [0, 1, 2]


async def test_task_group_inside_failing_child_cancels_the_rest(
    context: AioContext, gate: asyncio.Future[None]
) -> None:
    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(raises(ValueError("broken")))
            group.create_task(waits_for(gate))
            await gate

    coroutine = start(context, body())
    with pytest.raises(ExceptionGroup) as raised:
        await coroutine

    assert raised.group_contains(ValueError, match="broken")
    assert (gate.cancelled(), coroutine.cancelling()) == (True, 0)


async def test_lock_and_event_inside_work(context: AioContext) -> None:
    lock, event = asyncio.Lock(), asyncio.Event()
    log: list[str] = []

    async def body(name: str) -> None:
        async with lock:
            await event.wait()
            log.append(name)

    coroutines = [start(context, body(name)) for name in "abc"]
    event.set()
    for coroutine in coroutines:
        await coroutine

    assert log == ["a", "b", "c"]


async def test_get_name_is_the_body_s(context: AioContext) -> None:
    coroutine = start(context, returns(1))

    assert (coroutine.get_name(), repr(coroutine)) == ("returns", "<Coroutine returns of test done>")


# ---- context variables

variable: ContextVar[str] = ContextVar("variable", default="unset")


async def test_context_variables_are_the_starter_s_at_first_and_its_own_later(context: AioContext) -> None:
    seen: list[str] = []

    async def body() -> None:
        seen.append(variable.get())
        await asyncio.sleep(0)
        variable.set("coroutine's")
        await asyncio.sleep(0)
        seen.append(variable.get())

    token = variable.set("starter's")
    await start(context, body())
    seen.append(variable.get())
    variable.reset(token)

    assert seen == ["starter's", "coroutine's", "starter's"]


async def test_context_variable_can_be_reset_after_a_suspension(context: AioContext) -> None:
    async def body() -> str:
        await asyncio.sleep(0)
        token = variable.set("inside")
        await asyncio.sleep(0)
        variable.reset(token)
        return variable.get()

    assert await start(context, body()) == "unset"


# ---- cancellation


async def test_cancel_while_waiting_raises_there_and_cancels_what_it_waits_for(
    context: AioContext, gate: asyncio.Future[None]
) -> None:
    coroutine = start(context, waits_for(gate))

    answer = coroutine.cancel()
    with pytest.raises(asyncio.CancelledError):
        await coroutine

    assert (answer, gate.cancelled(), coroutine.cancelling()) == (True, True, 1)


async def test_cancel_swallowed_the_body_goes_on(context: AioContext, gate: asyncio.Future[None]) -> None:
    async def body() -> str:
        try:
            await gate
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "went on"

    coroutine = start(context, body())
    coroutine.cancel()

    assert await coroutine == "went on"
    assert coroutine.uncancel() == 0


async def test_cancel_before_it_begins_the_body_never_runs(context: AioContext) -> None:
    ran: list[str] = []

    async def body() -> None:
        ran.append("ran")

    coroutine = Coroutine(context, body())
    coroutine.cancel()
    done = coroutine.enter()

    assert (done, ran, type(coroutine.error)) == (True, [], asyncio.CancelledError)


async def test_cancel_itself_raises_at_the_next_suspension(context: AioContext, gate: asyncio.Future[None]) -> None:
    log: list[str] = []

    async def body() -> None:
        task: Any = asyncio.current_task()
        task.cancel()
        log.append("still runs")
        await gate
        log.append("unreachable")

    with pytest.raises(asyncio.CancelledError):
        await start(context, body())

    assert (log, gate.cancelled()) == (["still runs"], True)


async def test_cancel_itself_before_a_bare_yield_raises_there(context: AioContext) -> None:
    async def body() -> None:
        task: Any = asyncio.current_task()
        task.cancel("reason")
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError, match="reason"):
        await start(context, body())


async def test_cancel_after_what_it_waits_for_is_done_raises_all_the_same(
    context: AioContext, gate: asyncio.Future[None]
) -> None:
    coroutine = start(context, waits_for(gate))

    gate.set_result(None)
    coroutine.cancel()

    with pytest.raises(asyncio.CancelledError):
        await coroutine


async def test_cancel_done_is_refused(context: AioContext) -> None:
    coroutine = start(context, returns(1))

    assert (coroutine.cancel(), coroutine.cancelling()) == (False, 0)


async def test_cancel_who_awaits_leaves_the_coroutine_alone(context: AioContext, gate: asyncio.Future[int]) -> None:
    coroutine = start(context, waits_for(gate))

    async def awaits() -> int:
        return await coroutine

    waiter = start(context, awaits())
    waiter.cancel()
    await asyncio.sleep(0)
    gate.set_result(1)

    assert await coroutine == 1
    assert isinstance(waiter.error, asyncio.CancelledError)


async def test_cancel_in_another_thread_takes_effect_in_the_next_round(
    context: AioContext, gate: asyncio.Future[None]
) -> None:
    coroutine = start(context, waits_for(gate))

    asked = await asyncio.to_thread(coroutine.cancel)
    with pytest.raises(asyncio.CancelledError):
        await coroutine

    assert asked


async def test_what_it_waits_for_cancelled_raises_in_the_body(context: AioContext, gate: asyncio.Future[None]) -> None:
    coroutine = start(context, waits_for(gate))

    gate.cancel()

    with pytest.raises(asyncio.CancelledError):
        await coroutine


# ---- what it can't wait for


class Odd:
    def __await__(self) -> Any:
        yield "odd"


async def test_await_nothing_of_asyncio_raises_in_the_body_which_may_go_on(context: AioContext) -> None:
    async def body() -> str:
        try:
            await Odd()
        except RuntimeError as error:
            return str(error)
        return "unreachable"

    name = f"{body.__qualname__}"

    assert await start(context, body()) == f"{name} awaits 'odd', which is nothing of its loop's"


async def test_await_future_of_another_loop_raises_in_the_body(context: AioContext) -> None:
    loop = asyncio.new_event_loop()
    foreign: asyncio.Future[None] = loop.create_future()

    with pytest.raises(RuntimeError, match=r"waits_for awaits <Future pending.*which is nothing of its loop's"):
        await start(context, waits_for(foreign))
    loop.close()
