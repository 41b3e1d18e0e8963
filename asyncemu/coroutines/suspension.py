# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Coroutine keeps when it suspends, and what its body yields to it then."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from asyncemu.coroutines.place import Place
from asyncemu.coroutines.waiter import Waiter
from asyncemu.loop import AioContext

if TYPE_CHECKING:
    from asyncemu.coroutines.coroutine import Coroutine

#: Yielded by ``co_yield``; asyncio's own awaitables yield futures or None.
YIELD: Final = object()


class Move:
    """Yielded by a body that wants to go on in another context."""

    __slots__ = ("context", "place")

    def __init__(self, context: AioContext, place: Place) -> None:
        self.context = context
        self.place = place


class More:
    """What only a coroutine needs that suspends, is woken or cancelled: most requests never do."""

    __slots__ = (
        "began_in",
        "cancel_requests",
        "scheduled_by",
        "seen",
        "to_throw",
        "variables",
        "waiters",
        "waits_for",
        "woken",
    )

    def __init__(self) -> None:
        #: Its own context variables, from its first await on.
        self.variables: Context | None = None
        self.waits_for: asyncio.Future[Any] | None = None
        #: Of those who await this coroutine, in whichever context.
        self.waiters: list[Waiter] = []
        #: Raised in the body at the next step.
        self.to_throw: BaseException | None = None
        self.cancel_requests = 0
        #: Has anybody asked for the result or the error?
        self.seen = False
        #: Others that this one has woken since it was entered.
        self.woken: list[Coroutine[Any]] = []
        #: Who has scheduled it, until it is entered.
        self.scheduled_by: Place | None = None
        #: Its first home, once it has moved.
        self.began_in: AioContext | None = None
