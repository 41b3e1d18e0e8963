# SPDX-License-Identifier: GPL-2.0-or-later
"""VCpu: a guest CPU's thread, its mailbox and its kick.

States and who moves them:

    CREATED --start--> PAUSED <--resume/pause--> RUNNING
                          \\--------- stop ---------/--> STOPPED

A kick is never lost. ``kick`` sets ``_request`` first and looks where the thread is second; the thread declares where
it goes first (``in_guest``, ``_sleeping``) and looks at ``_request`` second. Under the GIL these orders are those that
all threads see, so one of the two always notices. One gap is below us: an accelerator may lose an interrupt that comes
while it is entering the guest, so a kick is repeated every 2 ms until the thread has taken it.
"""

from __future__ import annotations

import asyncio
import enum
import queue
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Final, TypeVar

from asyncemu.loop import AioContext, Clock, any_thread, home
from asyncemu.loop.markers import enter_vcpu_thread
from asyncemu.loop.vcpu_threads import VcpuThread, add_vcpu_thread, remove_vcpu_thread
from asyncemu.tracing import tracer
from asyncemu.vcpu.cpu import Exit, GuestCpu

ResultT = TypeVar("ResultT")

#: How long to wait before asking again for an exit that may have been lost, in seconds. Exits are taken within 0.1 ms
#: as a rule, so that this hardly ever fires for one that was not.
REPEAT_KICK: Final = 0.002


class State(enum.Enum):
    """Life of a vCPU."""

    CREATED = "created"
    PAUSED = "paused"
    RUNNING = "running"
    STOPPED = "stopped"


class VCpu:
    """One vCPU. Home: the context it was made in; everything but ``kick`` and ``async_run_on_cpu`` is called there."""

    def __init__(
        self, cpu: GuestCpu, context: AioContext, clock: Clock, name: str, on_fault: Callable[[BaseException], None]
    ) -> None:
        self.cpu = cpu
        self.context = context
        self.clock = clock
        self.name = name
        self.state = State.CREATED
        #: Called at home when the guest can't go on (GuestFault) or a bug stopped the thread.
        self.on_fault = on_fault
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._mailbox: deque[Callable[[], object]] = deque()
        self._request = False
        self._vcpu_thread = VcpuThread()
        self._sleeping = False
        self._running = False
        self._stopping = False
        self._wake_ups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ended: asyncio.Future[None] | None = None
        self._repeating = False
        self._guest_timer = context.timer(clock, self._guest_timer_fired)
        self._entries = 0
        self._halts = 0
        cpu.on_line_raised = self.kick
        cpu.on_deadline = self._arm_guest_timer

    @property
    def thread_id(self) -> int:
        """As the kernel numbers threads, from ``start`` on. QEMU: thread-id."""
        return self._thread.native_id or 0

    # ---- life cycle

    @home
    def start(self) -> None:
        """Start the thread; it stays paused."""
        self._ended = self.context.loop.create_future()
        self.state = State.PAUSED
        self._thread.start()

    @home
    def resume(self) -> None:
        """Let the guest run. The VIRTUAL clock has been started before."""
        if self.state is State.PAUSED:
            self.state = State.RUNNING
            self._running = True
            self.kick()

    @home
    async def pause(self) -> None:
        """Return when the thread is out of the guest and stays out."""
        if self.state is State.RUNNING:
            self.state = State.PAUSED
            self._running = False
            # A job in the mailbox runs outside the guest: when it has run, the thread is there.
            await self.run_on_cpu(lambda: None)

    @home
    async def stop(self) -> None:
        """End the thread. The vCPU is of no use afterwards."""
        if self.state is State.CREATED:
            self.state = State.STOPPED
        if self.state is State.STOPPED:
            return
        self.state = State.STOPPED
        self._running = False
        self._stopping = True
        self.kick()
        assert self._ended is not None
        await self._ended
        self._thread.join()
        self._guest_timer.cancel()

    # ---- work for the thread

    @home
    async def run_on_cpu(self, function: Callable[[], ResultT]) -> ResultT:
        """``function()`` on the vCPU thread, outside the guest; its result. QEMU: run_on_cpu."""
        future: asyncio.Future[ResultT] = self.context.loop.create_future()

        def job() -> None:
            try:
                result = function()
            except Exception as error:
                failure = error
                self.context.schedule_oneshot(lambda: None if future.done() else future.set_exception(failure))
            else:
                self.context.schedule_oneshot(lambda: None if future.done() else future.set_result(result))

        self.async_run_on_cpu(job)
        return await future

    @any_thread
    def async_run_on_cpu(self, job: Callable[[], object]) -> None:
        """``job()`` on the vCPU thread, outside the guest, some time soon, in order. QEMU: async_run_on_cpu."""
        self._mailbox.append(job)
        self.kick()

    @any_thread
    def kick(self) -> None:
        """Make the thread look at lines, mailbox and state soon: leave the guest, or wake. QEMU: qemu_cpu_kick."""
        if self._request:
            return
        self._request = True
        if self._vcpu_thread.in_guest:
            self.cpu.interrupt()
            if not self._repeating:
                self._repeating = True
                if self.context.in_home():
                    self._repeat_later()
                else:
                    self.context.schedule_oneshot(self._repeat_later)
        elif self._sleeping:
            self._sleeping = False
            self._wake_ups.put(None)

    def _repeat_later(self) -> None:
        self.context.loop.call_later(REPEAT_KICK, self._repeat_kick)

    def _repeat_kick(self) -> None:
        if self._request and self._vcpu_thread.in_guest:
            self.cpu.interrupt()
            self._repeat_later()
        else:
            self._repeating = False

    @any_thread
    def statistics(self) -> dict[str, int]:
        """Guest entries, halts, and what the accelerator counts. Any thread."""
        return {"entries": self._entries, "halts": self._halts, **self.cpu.statistics()}

    # ---- the guest's own timer, while the thread is in the guest

    def _arm_guest_timer(self, deadline: int) -> None:
        # Only ever earlier: a guest moves its timer later far more often than the timer fires.
        self._guest_timer.mod_anticipate(deadline)

    def _guest_timer_fired(self) -> None:
        deadline = self.cpu.deadline()
        if deadline is None:
            self.kick()
        else:
            self._guest_timer.mod_anticipate(deadline)

    # ---- the thread

    def _main(self) -> None:
        enter_vcpu_thread()
        add_vcpu_thread(self._vcpu_thread)
        try:
            self._loop()
        except BaseException as error:
            self._serve_mailbox_until_stopped(error)
        finally:
            remove_vcpu_thread(self._vcpu_thread)
            self.context.schedule_oneshot(self._thread_ended)

    def _loop(self) -> None:
        cpu, thread = self.cpu, self._vcpu_thread
        while True:
            self._request = False
            while self._mailbox:
                self._mailbox.popleft()()
            if self._stopping:
                return
            if not self._running:
                self._sleep(None)
                continue
            thread.in_guest = True
            if self._request:
                thread.in_guest = False
                continue
            self._entries += 1
            if tracer.on:
                start = monotonic_ns()
                reason = cpu.execute()
                tracer.span("guest", "guest", start)
            else:
                reason = cpu.execute()
            thread.in_guest = False
            if reason is Exit.HALTED and not self._request and (wake_time := cpu.wake_time()) != 0:
                self._halts += 1
                self._sleep(wake_time)

    def _sleep(self, deadline: int | None) -> None:
        """Until a kick, or until guest time is ``deadline`` ns. A spurious return does no harm."""
        start = monotonic_ns() if tracer.on else 0
        self._sleeping = True
        if not self._request:
            try:
                if deadline is None:
                    self._wake_ups.get()
                elif (remaining := deadline - self.clock.now()) > 0:
                    self._wake_ups.get(timeout=remaining / 1e9)
            except queue.Empty:
                pass
        self._sleeping = False
        if start:
            tracer.span("halt", "halt" if self._running else "paused", start)

    def _serve_mailbox_until_stopped(self, error: BaseException) -> None:
        """The guest is done for, but whoever awaits ``run_on_cpu`` or ``pause`` must not wait for ever."""
        self._vcpu_thread.in_guest = False
        self.context.schedule_oneshot(lambda: self.on_fault(error))
        while not self._stopping:
            self._request = False
            while self._mailbox:
                self._mailbox.popleft()()
            if not self._stopping:
                self._sleep(None)

    def _thread_ended(self) -> None:
        assert self._ended is not None
        if not self._ended.done():
            self._ended.set_result(None)

    def __repr__(self) -> str:
        return f"<VCpu {self.name} {self.state.value}>"
