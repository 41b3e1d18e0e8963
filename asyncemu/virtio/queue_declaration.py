# SPDX-License-Identifier: GPL-2.0-or-later
"""How a device class declares its queues; their numbers are the order in the class body.

    @virtqueue(size=256)
    async def requestq(self, request: Chain) -> None: ...

makes a queue whose chains are each handled by a coroutine, started in place. ``count`` names an option that says how
many such queues there are.

    receiveq = buffer_queue(size=64)

makes a queue whose chains the device takes when it has something for them: ``self.receiveq`` is a BufferQueue.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

from asyncemu.virtio.chain import Chain

if TYPE_CHECKING:
    from asyncemu.virtio.runner import BufferQueue

Handler = Callable[[Any, Chain], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """One or several queues of a device class. ``size`` may be the name of an option."""

    name: str
    size: int | str
    handler: Handler | None = None
    count: str = ""
    on_reset: Literal["finish", "cancel"] = "finish"


class HandlerQueue:
    """What ``@virtqueue`` leaves in the class: the handler with its declaration."""

    def __init__(self, handler: Handler, size: int | str, count: str, on_reset: Literal["finish", "cancel"]) -> None:
        if not inspect.iscoroutinefunction(handler):
            raise TypeError(f"the handler of a virtqueue is an async function, {handler.__qualname__} is not")
        self.handler = handler
        self.declaration = QueueDeclaration(handler.__name__, size, handler, count, on_reset)
        self.__doc__ = handler.__doc__

    def __get__(self, device: Any, owner: type) -> Any:
        return self if device is None else self.handler.__get__(device, owner)


class DeclaredBufferQueue:
    """What ``buffer_queue`` leaves in the class; on an instance it is the BufferQueue."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.declaration = QueueDeclaration("", size)

    def __set_name__(self, owner: type, name: str) -> None:
        self.declaration = QueueDeclaration(name, self.size)

    @overload
    def __get__(self, device: None, owner: type) -> DeclaredBufferQueue: ...
    @overload
    def __get__(self, device: Any, owner: type) -> BufferQueue: ...
    def __get__(self, device: Any, owner: type) -> DeclaredBufferQueue | BufferQueue:
        if device is None:
            return self
        queue: BufferQueue = device.buffer_queues[self.declaration.name]
        return queue


def virtqueue(
    *, size: int | str, count: str = "", on_reset: Literal["finish", "cancel"] = "finish"
) -> Callable[[Handler], HandlerQueue]:
    """Declare a queue of at most ``size`` entries whose chains the decorated coroutine handles, several at a time.

    ``size`` may name an option that says it, as ``count`` names one that says how many such queues there are.
    On a reset by the driver, requests in flight are finished first, or cancelled (``on_reset="cancel"``) where they may
    wait for something that never comes. A queue of the same name in a base class is replaced.
    """
    return lambda handler: HandlerQueue(handler, size, count, on_reset)


def buffer_queue(*, size: int) -> DeclaredBufferQueue:
    """Declare a queue of at most ``size`` entries from which the device takes chains itself."""
    return DeclaredBufferQueue(size)


def declared_queues(cls: type) -> tuple[QueueDeclaration, ...]:
    """The declarations of a class body, in order."""
    return tuple(
        attribute.declaration
        for attribute in vars(cls).values()
        if isinstance(attribute, HandlerQueue | DeclaredBufferQueue)
    )
