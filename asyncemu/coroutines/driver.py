# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver runs bodies of coroutines, one after the other: a generator that does ``yield from`` on them.

Why: a body that returns to ``send`` makes a StopIteration, which is raised and caught; one that returns to ``yield
from`` does not. That is a third of what it costs to enter a request that does not block. The price is one more frame
to go through at each suspension, a tenth of ``co_yield`` and ``enter``.

    send = take_driver()            IndexError when none is idle: new_driver()
    send(body)                      what the body yields, or (ENDED, result)
    send(None)                      the same, from its suspension on
    give_driver(send)               once it has ended

A body that has suspended keeps its driver until it ends; dropped, both are closed. A driver ends with a body that
raises, and what it raised comes out of ``send``. It keeps neither the result nor the Coroutine alive.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from collections.abc import Coroutine as PythonCoroutine
from types import coroutine
from typing import Any, Final, TypeVar

ResultT = TypeVar("ResultT")

#: What a driver yields, with the result, when the body has returned.
ENDED: Final = object()

#: Their ``send``. Any thread takes one and gives it back, each in one step: they belong to no loop.
idle_drivers: Final[list[Any]] = []

#: As names of their own: CPython 3.11 calls a method of an imported list at twice the cost.
take_driver: Final = idle_drivers.pop
give_driver: Final = idle_drivers.append

#: So many idle ones are kept, of those whose bodies have suspended: the others are never more than are nested. QEMU:
#: POOL_MIN_BATCH_SIZE.
DRIVERS_KEPT: Final = 64


@coroutine
def _drive() -> Generator[Any, Any, None]:
    body = yield
    while True:
        body = yield (ENDED, (yield from body))


def new_driver() -> Callable[[Any], Any]:
    """One more, ready for a body."""
    send = _drive().send
    send(None)
    return send


def adapted(body: PythonCoroutine[Any, Any, ResultT]) -> PythonCoroutine[Any, Any, ResultT]:
    """A generator, or a coroutine of Cython's as uvloop has them, as a native one: ``yield from`` takes no other."""

    async def native() -> ResultT:
        return await body

    made = native()
    made.__qualname__ = getattr(body, "__qualname__", repr(body))  # type: ignore[attr-defined]
    return made
