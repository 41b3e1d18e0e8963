# SPDX-License-Identifier: GPL-2.0-or-later
"""IOThread: an AioContext with a thread of its own. QEMU: -object iothread.

    CREATED --start--> RUNNING --stop--> STOPPED

Devices and block nodes whose home it is are closed or moved away before ``stop``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from dataclasses import dataclass
from typing import Any, Final

from asyncemu import author_errors
from asyncemu.loop.context import AioContext
from asyncemu.loop.markers import any_thread, home
from asyncemu.loop.poll_time import PollParameters
from asyncemu.loop.worker_pool import MAX_THREADS, check_bounds

#: QEMU's default of poll-max-ns, ns.
POLL_MAX_NS: Final = 32_768


@dataclass(frozen=True, slots=True)
class IOThreadParameters:
    """QEMU's properties of an iothread object; all may be changed while it runs."""

    #: Poll for at most so long, ns; 0: never.
    poll_max_ns: int = POLL_MAX_NS
    #: The next polling is so many times longer after one that was too short; 0: QEMU's choice, 2.
    poll_grow: int = 0
    #: The next polling is so many times shorter after one for nothing; 0: none.
    poll_shrink: int = 0
    #: Requests of one hand-over to io_uring; 0: as many as there are.
    aio_max_batch: int = 0
    #: Worker threads that stay when there is nothing to do, and that there are at most.
    thread_pool_min: int = 0
    thread_pool_max: int = MAX_THREADS

    def __post_init__(self) -> None:
        """ValueError for what can't be."""
        for field in dataclasses.fields(self):
            if (value := getattr(self, field.name)) < 0:
                raise ValueError(f"{field.name.replace('_', '-')} is negative: {value}")
        check_bounds(self.thread_pool_min, self.thread_pool_max)


class IOThread:
    """Made, started and stopped in ``context``, the main one; its own context is ``aio_context``."""

    def __init__(self, context: AioContext, id: str, parameters: IOThreadParameters | None = None) -> None:
        self.context = context
        self.id = id
        self.parameters = parameters or IOThreadParameters()
        #: From ``start`` on.
        self.aio_context: AioContext
        #: As the kernel numbers threads, for taskset(1) and the like; from ``start`` on. QEMU: thread-id.
        self.thread_id = 0
        self._thread = threading.Thread(target=self._main, name=f"IO {id}", daemon=True)
        # Events, not futures: who is cancelled while he waits for one leaves it as it is.
        self._started = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        self._stop: asyncio.Event

    @home
    async def start(self) -> None:
        """Start the thread; returns when its loop runs. Once only: RuntimeError.

        OSError and RuntimeError when the host has no descriptor or no thread to give.
        """
        self._thread.start()
        await self._started.wait()
        if self._failure is not None:
            raise self._failure

    @home
    async def stop(self) -> None:
        """End the loop and the thread. What is scheduled and has not run is dropped. Twice is once; before ``start``
        it is nothing.
        """
        if self._thread.ident is None:
            return
        await self._started.wait()
        if self._failure is None:
            self.aio_context.schedule_oneshot(self._stop.set)
        await self._ended.wait()
        self._thread.join()

    @home
    async def change(self, **changes: int) -> None:
        """New values for some of the parameters, by their names; returns when they are in effect. QEMU: qom-set.

        ValueError and TypeError when they can't be, and all is as before; RuntimeError when the host has no thread to
        give. Before ``start`` they wait for it; after ``stop`` they are only noted.
        """
        self.parameters = dataclasses.replace(self.parameters, **changes)
        if self.running:
            await self.aio_context.call(self._apply)

    @property
    def running(self) -> bool:
        """Between ``start`` and ``stop``?"""
        return self._started.is_set() and self._failure is None and not self._ended.is_set()

    async def _apply(self) -> None:
        parameters, context = self.parameters, self.aio_context
        context.set_poll_parameters(
            PollParameters(parameters.poll_max_ns, parameters.poll_grow, parameters.poll_shrink)
        )
        context.aio_max_batch = parameters.aio_max_batch
        context.worker_pool.set_bounds(parameters.thread_pool_min, parameters.thread_pool_max)

    @any_thread
    def query(self) -> dict[str, Any]:
        """What QMP's query-iothreads tells of it, and the context's statistics."""
        parameters = {
            field.name.replace("_", "-"): getattr(self.parameters, field.name)
            for field in dataclasses.fields(self.parameters)
        }
        return {
            "id": self.id,
            "thread-id": self.thread_id,
            **parameters,
            "statistics": self.aio_context.statistics() if self.thread_id else {},
        }

    # ---- the thread

    def _main(self) -> None:
        import uvloop

        failure: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            failure = error
        self.context.schedule_oneshot(lambda: self._thread_ended(failure))

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        author_errors.install(loop)
        self.aio_context = AioContext(loop, self.id)
        self.thread_id = threading.get_native_id()
        try:
            self.aio_context.timers.prepare()
            await self._apply()
            self.context.schedule_oneshot(self._started.set)
            await self._stop.wait()
        finally:
            self.aio_context.close()

    def _thread_ended(self, failure: BaseException | None) -> None:
        if not self._started.is_set():
            # No descriptor was left for its loop, say.
            self._failure = failure or RuntimeError(f"{self!r} ended before it began")
            self._started.set()
        elif failure is not None:
            self.context.loop.call_exception_handler({"message": f"{self!r}", "exception": failure})
        self._ended.set()

    def __repr__(self) -> str:
        return f"<IOThread {self.id}>"
