# SPDX-License-Identifier: GPL-2.0-or-later
"""What drives a queue at home: pop a batch, start a coroutine for each chain, push, publish, interrupt.

Stopping is: stop popping, finish (or cancel) what was popped, hand the queue back. Only then is a reset complete.
Quiescing is the first half of that, for a while: the ring keeps what is not popped, in its order.

A runner's home is its device's, unless the device gives its queues several (iothread-vq-mapping).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Literal

from asyncemu import coroutines
from asyncemu.errors import GuestError
from asyncemu.loop import AioContext, any_thread, home
from asyncemu.virtio.chain import Chain
from asyncemu.virtio.split_queue import SplitQueue

#: Chains taken in one go before the rest of the loop gets its turn; the queue's next batch is a bottom half away.
BATCH: Final = 64


class HandleAgain(Exception):
    """Raised by a handler that has done nothing for its chain, for a reason that stops the machine (a full disk).

    The chain stays the device's, and is handled again from its beginning when the machine goes on.
    """


class QueueRunner:
    """One queue of one device: between the transport, which activates and rings it, and the handler."""

    def __init__(
        self,
        context: AioContext,
        name: str,
        max_size: int,
        interrupt: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.context = context
        self.name = name
        self.max_size = max_size
        self.queue: SplitQueue | None = None
        self._interrupt = interrupt
        self._failed = failed
        #: How many want it quiet.
        self._quiesced = 0
        self._polled = False
        self._doorbell = context.bh_new(self._serve, f"{name}-doorbell", "doorbell")

    @any_thread
    def notify(self) -> None:
        """The driver has rung. Rings until the queue is looked at count as one."""
        self._doorbell.schedule()

    @any_thread
    def activate(self, queue: SplitQueue) -> None:
        """The driver has set the queue up and is ready: serve it from now on."""
        self.queue = queue
        self._doorbell.schedule()

    @any_thread
    def stop(self) -> None:
        """Pop no more. What is in flight goes on, and is not given back. At home it takes effect at once."""
        self.queue = None
        self._doorbell.cancel()

    @any_thread
    async def deactivate(self) -> None:
        """Stop, and return when nothing of this queue is in flight."""
        self.stop()
        await self.context.call(self._end_in_flight)

    @any_thread
    async def quiesce(self) -> None:
        """Pop no more until ``resume``, and return when nothing of this queue is in flight. Nests."""
        await self.context.call(self._quiesce)

    @any_thread
    async def resume(self) -> None:
        """The other end of ``quiesce``."""
        await self.context.call(self._resume)

    # ---- Pollable: the available ring is memory that the driver writes

    #: The driver runs on a vCPU of this process. Where the rings are another process's, this is to be False.
    rung_by_vcpu = True

    @home
    def poll(self) -> bool:
        """Has the driver made a chain available?"""
        queue = self.queue
        return queue is not None and not self._quiesced and queue.has_available()

    @home
    def poll_ready(self) -> None:
        """Serve it, as if it had been rung."""
        self._serve()

    def _be_polled(self, polled: bool) -> None:
        if polled is not self._polled:
            self._polled = polled
            (self.context.add_pollable if polled else self.context.remove_pollable)(self)

    @home
    def move(self, context: AioContext) -> None:
        """Be served in ``context`` from now on; quiesced, from its home until then."""
        self._be_polled(False)
        self._doorbell.move(context)
        self.context = context

    async def _quiesce(self) -> None:
        self._quiesced += 1
        await self._wait_in_flight()

    async def _resume(self) -> None:
        self._quiesced -= 1
        # Whether it was rung meanwhile or not: the ring knows.
        self._doorbell.schedule()

    async def _end_in_flight(self) -> None:
        """At home: finish, or cancel, what is in flight."""
        self._be_polled(False)
        await self._wait_in_flight()

    async def _wait_in_flight(self) -> None:
        """Return when nothing is in flight. At home."""

    def _serve(self) -> None:
        raise TypeError(f"{type(self).__name__} does not define _serve()")


class HandlerRunner(QueueRunner):
    """Starts the device's coroutine for each chain."""

    def __init__(
        self,
        context: AioContext,
        name: str,
        max_size: int,
        interrupt: Callable[[], None],
        failed: Callable[[BaseException], None],
        handler: Callable[[Chain], Coroutine[Any, Any, None]],
        on_reset: Literal["finish", "cancel"] = "finish",
    ) -> None:
        super().__init__(context, name, max_size, interrupt, failed)
        self._handler = handler
        self._on_reset = on_reset
        self._in_flight: dict[coroutines.Coroutine[None], Chain] = {}
        #: Heads of chains to be handled again: when the machine has stopped and goes on, and at once.
        self._parked: list[int] = []
        self._again: list[int] = []
        self._in_batch = False
        self._idle: asyncio.Future[None] | None = None

    @property
    def in_flight(self) -> int:
        """Chains that are being handled."""
        return len(self._in_flight)

    async def _end_in_flight(self) -> None:
        if self._on_reset == "cancel":
            for coroutine in list(self._in_flight):
                coroutine.cancel()
        await super()._end_in_flight()
        self._parked.clear()
        self._again.clear()

    async def _resume(self) -> None:
        self._again += self._parked
        self._parked.clear()
        await super()._resume()

    async def _wait_in_flight(self) -> None:
        while self._in_flight:
            if self._idle is None:
                self._idle = self.context.loop.create_future()
            await asyncio.shield(self._idle)

    def _serve(self) -> None:
        queue = self.queue
        if queue is None or self._quiesced:
            return
        self._be_polled(True)
        self._in_batch = True
        try:
            self._begin_batch(queue)
        except GuestError as error:
            self._failed(error)
        finally:
            self._in_batch = False
        # Pushed by handlers that ended at once: shown and told of together.
        if queue.publish():
            self._interrupt()

    def _begin_batch(self, queue: SplitQueue) -> None:
        queue.suppress_notifications()
        for _ in range(BATCH):
            # A handler that failed has stopped the queue; or somebody wants it quiet.
            if self.queue is None or self._quiesced:
                return
            chain = queue.reread(self._again.pop(0)) if self._again else queue.pop()
            if chain is not None:
                self._begin(chain)
            elif not queue.enable_notifications():
                return
        self._doorbell.schedule()

    def _begin(self, chain: Chain) -> None:
        coroutine = coroutines.Coroutine(self.context, self._handler(chain), self._ended)
        self._in_flight[coroutine] = chain
        coroutine.enter()

    def _ended(self, coroutine: coroutines.Coroutine[None]) -> None:
        chain = self._in_flight.pop(coroutine)
        error = coroutine.error
        queue = self.queue
        if error is None:
            if queue is not None:
                queue.push(chain)
                if not self._in_batch and queue.publish():
                    self._interrupt()
        elif isinstance(error, HandleAgain):
            self._parked.append(chain.head)
        elif queue is not None or not isinstance(error, asyncio.CancelledError):
            # Cancelled by a reset is the one good way not to answer.
            self._failed(error)
        if self._idle is not None and not self._in_flight:
            self._idle.set_result(None)
            self._idle = None


class BufferQueue(QueueRunner):
    """A queue that the device takes chains from when it wants them: ``pop`` or ``await get``, then ``give_back``.

    Between the two the chain's views are the device's, unless ``VirtioDevice.before_reset`` is called: from then on it
    must not touch them, and giving the chain back does nothing.
    """

    def __init__(
        self,
        context: AioContext,
        name: str,
        max_size: int,
        interrupt: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__(context, name, max_size, interrupt, failed)
        #: Called at home when chains have become available after there were none.
        self.on_available: Callable[[], None] | None = None
        #: Called at home when chains that are kept for later are to be put back (``unpop``), or are no longer ours.
        self.on_release: Callable[[], None] | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._popped: set[Chain] = set()

    @any_thread
    def stop(self) -> None:
        super().stop()
        self._popped.clear()

    @home
    def pop(self) -> Chain | None:
        """The next chain, or None: then ``on_available`` will be called."""
        queue = self.queue
        if queue is None or self._quiesced:
            return None
        try:
            chain = queue.pop()
            if chain is None and queue.enable_notifications():
                chain = queue.pop()
        except GuestError as error:
            self._failed(error)
            return None
        if chain is not None:
            self._popped.add(chain)
        return chain

    @home
    def pop_batch(self, limit: int) -> list[Chain]:
        """The next chains, ``limit`` at most. When there are fewer, ``on_available`` will be called for the next."""
        queue = self.queue
        chains: list[Chain] = []
        if queue is None or self._quiesced:
            return chains
        try:
            queue.suppress_notifications()
            while True:
                chains += queue.pop_batch(limit - len(chains))
                # Fewer than asked for: that was all.
                if len(chains) >= limit or not queue.enable_notifications():
                    break
        except GuestError as error:
            self._failed(error)
            return []
        self._popped.update(chains)
        return chains

    @home
    def unpop(self, chains: Sequence[Chain]) -> None:
        """Put chains back, the last ones that were popped: nothing has been done with them, and they come again."""
        if self.queue is None or not chains or chains[0] not in self._popped:
            return
        self._popped.difference_update(chains)
        self.queue.unpop(len(chains))

    @home
    def give_back_all(self, chains: Sequence[Chain]) -> None:
        """``give_back`` for several: the driver gets them together, and one interrupt at most."""
        queue = self.queue
        if queue is None:
            return
        popped = self._popped
        ours = [chain for chain in chains if chain in popped]
        popped.difference_update(ours)
        queue.push_all(ours)
        if queue.publish():
            self._interrupt()

    @home
    def give_back(self, chain: Chain) -> None:
        """The device is done with a chain: the driver gets it, and an interrupt if it wants one."""
        if self.queue is None or chain not in self._popped:
            return
        self._popped.remove(chain)
        self.queue.push(chain)
        if self.queue.publish():
            self._interrupt()

    @home
    def fail(self, error: GuestError) -> None:
        """The driver broke a rule with a chain of this queue: the device needs a reset."""
        self._failed(error)

    @home
    async def get(self) -> Chain:
        """The next chain, when there is one."""
        while (chain := self.pop()) is None:
            waiter: asyncio.Future[None] = self.context.loop.create_future()
            self._waiters.append(waiter)
            await waiter
        return chain

    @property
    def available(self) -> int:
        """Chains that can be popped now; when there are none, ``on_available`` will be called. Home only."""
        queue = self.queue
        if queue is None or self._quiesced:
            return 0
        try:
            return queue.pending() or (queue.pending() if queue.enable_notifications() else 0)
        except GuestError as error:
            self._failed(error)
            return 0

    async def _wait_in_flight(self) -> None:
        if self.on_release is not None:
            self.on_release()

    def _serve(self) -> None:
        if self._quiesced:
            # ``resume`` serves again.
            return
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self.on_available is not None:
            self.on_available()
