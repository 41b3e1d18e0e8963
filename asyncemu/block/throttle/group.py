# SPDX-License-Identifier: GPL-2.0-or-later
"""ThrottleGroup: limits that several members share, and whose request is next. QEMU: block/throttle-groups.c.

Theory of operation. A request that may not pass waits in the queue of its member, which is FIFO for each direction.
One timer of the group, per direction, says when the next one may pass. It is a timer of the member that has the
*token*: it fires in that member's context, where the request is woken. Each request that passes is accounted for and
then looks for the next one to pass: that of the next member in the round, so that all of them get their share,
however many requests each has. A member in a drained section is not held up, and what it does is accounted for.

What holds between any two steps, with the lock: when a queue is not empty, then the timer of its direction is set, or a
request of the direction has been woken and has not gone on yet. So nobody is forgotten.

Members live in several contexts; what is here and in their queues is under ``lock``, which is held for moments only.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from asyncemu.block.throttle.buckets import DIRECTIONS, ThrottleState
from asyncemu.block.throttle.config import ThrottleConfig
from asyncemu.loop import Clock, any_thread

if TYPE_CHECKING:
    from asyncemu.block.throttle.member import ThrottleMember


class ThrottleGroup:
    """Limits with a name. All methods from any thread; those that say so, with ``lock`` held."""

    def __init__(self, name: str, config: ThrottleConfig, clock: Clock) -> None:
        self.name = name
        self.clock = clock
        self.lock = threading.Lock()
        self.members: list[ThrottleMember] = []
        self._state = ThrottleState(config, clock.now())
        #: So that requests of a group without limits pass in one step.
        self.limited = config.enabled
        #: By direction: how many wait in queues; whose turn it was last; whether a timer of the group is set.
        self.waiting = [0 for _ in DIRECTIONS]
        self._tokens: list[ThrottleMember | None] = [None for _ in DIRECTIONS]
        self._timer_set = [False for _ in DIRECTIONS]

    @property
    def config(self) -> ThrottleConfig:
        """The limits."""
        return self._state.config

    @any_thread
    def configure(self, config: ThrottleConfig) -> None:
        """Other limits from now on; what has passed until now is forgotten. ``config`` has been checked."""
        with self.lock:
            self._state = ThrottleState(config, self.clock.now())
            self.limited = config.enabled
            # Who waits for the old limits looks again.
            for member in self.members:
                member.hurry_timers()

    # ---- members, with the lock held

    def add(self, member: ThrottleMember) -> None:
        """One more."""
        self.members.append(member)
        self._tokens = [token or member for token in self._tokens]

    def remove(self, member: ThrottleMember) -> None:
        """One less; none of its requests waits."""
        after = self._next_in_the_round(member)
        self._tokens = [after if token is member else token for token in self._tokens]
        self.members.remove(member)
        if not self.members:
            self._tokens = [None for _ in DIRECTIONS]

    # ---- requests, with the lock held

    def must_wait(self, member: ThrottleMember, direction: int) -> bool:
        """A request of ``member`` comes, behind nobody of its own: must it wait? Then a timer is set."""
        token = self._next_to_pass(member, direction) if self.waiting[direction] else member
        return self._hold_up(token, direction)

    def passed(self, member: ThrottleMember, direction: int, length: int) -> None:
        """A request passes now: account for it, and see to the next one. In the member's context."""
        self._state.account(direction, length)
        if self.waiting[direction]:
            self.schedule_next(member, direction)

    def timer_fired(self, member: ThrottleMember, direction: int) -> None:
        """Or was cancelled: the timer of the group, which is one of ``member``, is not set any more."""
        self._timer_set[direction] = False

    def schedule_next(self, member: ThrottleMember, direction: int) -> None:
        """Wake the next request, or set the timer for it. In the context of ``member``."""
        token = self._next_to_pass(member, direction)
        if not token.waits(direction) or self._hold_up(token, direction):
            return
        # Nothing is in the way of the next one: one of our own is woken at once, that of another in its context.
        if member.wake_next(direction):
            token = member
        else:
            token.set_timer(direction, self.clock.now())
            self._timer_set[direction] = True
        self._tokens[direction] = token

    def _hold_up(self, member: ThrottleMember, direction: int) -> bool:
        """Must the next request of ``member`` wait? Then the timer is set."""
        if member.unlimited:
            return False
        if self._timer_set[direction]:
            return True
        now = self.clock.now()
        wait = self._state.wait_ns(direction, now)
        if not wait:
            return False
        member.set_timer(direction, now + wait)
        self._tokens[direction] = member
        self._timer_set[direction] = True
        return True

    def _next_to_pass(self, member: ThrottleMember, direction: int) -> ThrottleMember:
        """The member whose request is next: one with a request that waits, or ``member`` when there is none."""
        if member.unlimited and member.waits(direction):
            # It must not wait for those of others, nor do others see to its own.
            return member
        start = self._tokens[direction] or member
        token = self._next_in_the_round(start)
        while token is not start and not token.waits_in_line(direction):
            token = self._next_in_the_round(token)
        return token if token.waits_in_line(direction) else member

    def _next_in_the_round(self, member: ThrottleMember) -> ThrottleMember:
        return self.members[(self.members.index(member) + 1) % len(self.members)]
