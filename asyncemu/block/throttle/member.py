# SPDX-License-Identifier: GPL-2.0-or-later
"""ThrottleMember: one user of a throttle group, in one context. QEMU: ThrottleGroupMember.

member = ThrottleMember(group, context)
waiter = member.begin(READ, length)
if waiter is not None:
    await member.wait(waiter, READ, length)
... the request ...
member.leave()
"""

from __future__ import annotations

from collections import deque

from asyncemu.block.throttle.buckets import DIRECTIONS, READ, WRITE
from asyncemu.block.throttle.group import ThrottleGroup
from asyncemu.coroutines.waiter import Waiter
from asyncemu.loop import AioContext, HasHome, Timer, any_thread, home


class ThrottleMember(HasHome):
    """Joins ``group`` when it is made, until ``leave``. What has no marker is called by the group, with its lock."""

    def __init__(self, group: ThrottleGroup, context: AioContext) -> None:
        self.group = group
        self.context = context
        #: In a drained section: limits don't hold.
        self.unlimited = False
        #: By direction. ``_pending`` counts those that have been woken and did not go on yet, too.
        self._queues: tuple[deque[Waiter], ...] = tuple(deque() for _ in DIRECTIONS)
        self._pending = [0 for _ in DIRECTIONS]
        self._timers = self._make_timers()
        with group.lock:
            group.add(self)

    def _make_timers(self) -> tuple[Timer, ...]:
        expired = (self._read_timer_expired, self._write_timer_expired)
        return tuple(self.context.timer(self.group.clock, callback) for callback in expired)

    # ---- requests

    @home
    def begin(self, direction: int, length: int) -> Waiter | None:
        """A request of ``length`` bytes comes. None: it goes on at once; otherwise ``wait`` is next."""
        group = self.group
        if not group.limited and not group.waiting[direction]:
            return None
        with group.lock:
            if self.unlimited or not (self._pending[direction] or group.must_wait(self, direction)):
                group.passed(self, direction, length)
                return None
            # In one step with the look at the limits: otherwise the timer might have come and gone in between.
            self._pending[direction] += 1
            waiter = Waiter()
            self._queues[direction].append(waiter)
            group.waiting[direction] += 1
            return waiter

    @home
    async def wait(self, waiter: Waiter, direction: int, length: int) -> None:
        """The other half of ``begin``: return when the request may go on, which it does then."""
        group, queue = self.group, self._queues[direction]
        try:
            await waiter.wait()
        except BaseException:
            with group.lock:
                self._pending[direction] -= 1
                if waiter in queue:
                    queue.remove(waiter)
                    group.waiting[direction] -= 1
                else:
                    # It has been chosen: the next one takes its turn.
                    group.schedule_next(self, direction)
            raise
        with group.lock:
            self._pending[direction] -= 1
            group.passed(self, direction, length)

    @home
    async def pass_by(self, direction: int, length: int) -> None:
        """Both halves: return when the request may go on, which it does then."""
        waiter = self.begin(direction, length)
        if waiter is not None:
            await self.wait(waiter, direction, length)

    # ---- life

    @home
    def begin_unlimited(self) -> None:
        """Limits don't hold from here on, and those that wait go on, one after the other. QEMU: io_limits_disabled."""
        self.unlimited = True
        for direction in DIRECTIONS:
            timer = self._timers[direction]
            with self.group.lock:
                if timer.pending:
                    timer.cancel()
                    self.group.timer_fired(self, direction)
                self._restart(direction)

    @home
    def end_unlimited(self) -> None:
        """They hold again."""
        self.unlimited = False

    @home
    def detach(self) -> None:
        """Give the timers up. Nothing waits. QEMU: throttle_group_detach_aio_context."""
        with self.group.lock:
            self._give_timers_up()

    @any_thread
    def attach(self, context: AioContext) -> None:
        """``context``, the caller's, is the home from now on."""
        self.context = context
        self._timers = self._make_timers()

    @home
    def leave(self) -> None:
        """Be a member no longer. Nothing waits. QEMU: throttle_group_unregister_tgm."""
        with self.group.lock:
            self._give_timers_up()
            self.group.remove(self)

    def _give_timers_up(self) -> None:
        assert not any(self._pending), "requests wait"
        for direction in DIRECTIONS:
            timer = self._timers[direction]
            if timer.pending:
                timer.cancel()
                self.group.timer_fired(self, direction)
                # It was for the request of somebody else, or for one that was cancelled.
                self.group.schedule_next(self, direction)

    # ---- for the group, with its lock held

    @any_thread
    def waits(self, direction: int) -> bool:
        """Does a request wait that nobody has woken?"""
        return bool(self._queues[direction])

    @any_thread
    def waits_in_line(self, direction: int) -> bool:
        """And is it not about to be woken by the end of another one, as all are that the limits don't hold for?"""
        return bool(self._queues[direction]) and not self.unlimited

    @any_thread
    def wake_next(self, direction: int) -> bool:
        """Wake the one that has waited longest; False when there is none."""
        queue = self._queues[direction]
        if not queue:
            return False
        self.group.waiting[direction] -= 1
        queue.popleft().wake()
        return True

    @any_thread
    def set_timer(self, direction: int, deadline: int) -> None:
        """Look again at ``deadline`` ns of the group's clock. From any context."""
        self._timers[direction].mod(deadline)

    @any_thread
    def hurry_timers(self) -> None:
        """Look again at once, where a timer is set. From any context."""
        for timer in self._timers:
            if timer.pending:
                timer.mod(self.group.clock.now())

    # ---- timers

    def _read_timer_expired(self) -> None:
        self._expired(READ)

    def _write_timer_expired(self) -> None:
        self._expired(WRITE)

    def _expired(self, direction: int) -> None:
        with self.group.lock:
            self.group.timer_fired(self, direction)
            self._restart(direction)

    def _restart(self, direction: int) -> None:
        """The request that waits longest goes on; when there is none, see to those of the others."""
        if not self.wake_next(direction):
            self.group.schedule_next(self, direction)
