# SPDX-License-Identifier: GPL-2.0-or-later
"""AdaptivePolling: when it polls and when it keeps out of the way, on a context and a time of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from types import SimpleNamespace

import pytest

from asyncemu.loop import AioContext, EventNotifier, PollParameters, polling
from asyncemu.loop.polling import CONTENDED, OFFER_EVERY, AdaptivePolling
from asyncemu.loop.vcpu_threads import VcpuThread, add_vcpu_thread, remove_vcpu_thread
from tests.loop.pollable import NEVER, Work

MAX = 32_768


class Rig:
    """A context whose loop and time the test turns. Each look at the time takes 100 ns, each offer of the GIL none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000
        self.offers = 0
        self.offer_takes = 0
        self.soon: list[Callable[[], object]] = []
        self.activity = 0
        self.variables = copy_context()
        self.loop = SimpleNamespace(call_soon=self._call_soon)
        self.bottom_halves = SimpleNamespace(incoming=[], will_look=False, settle=self._settle)
        self.settled = 0
        self.pollable = True
        self.deadline: int | None = None
        monkeypatch.setattr(polling, "monotonic_ns", self._time)
        monkeypatch.setattr(polling, "offer_gil", self._offer)
        self.polling = AdaptivePolling(self)  # type: ignore[arg-type]
        self.polling.set_parameters(PollParameters(MAX))

    def _time(self) -> int:
        self.now += 100
        return self.now

    def _offer(self) -> None:
        self.offers += 1
        self.now += self.offer_takes

    def _call_soon(self, callback: Callable[[], object], context: Context) -> None:
        self.soon.append(callback)

    def _settle(self) -> None:
        self.settled += 1

    def all_pollable(self) -> bool:
        return self.pollable

    def next_deadline(self) -> int | None:
        return self.deadline

    # ---- what the loop does

    def callback(self, takes: int = 0) -> None:
        """A handler of the context runs."""
        self.polling.woken()
        self.activity += 1
        self.now += takes
        self.polling.left()

    def sleep_then_callback(self, ns: int) -> None:
        self.now += ns
        self.callback()

    def turn(self) -> int:
        """Once round the loop: how many callbacks that were."""
        callbacks, self.soon = self.soon, []
        for callback in callbacks:
            callback()
        return len(callbacks)

    def learn(self) -> None:
        """Poll for 4 µs from now on."""
        self.callback()
        self.sleep_then_callback(10_000)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


@pytest.fixture
def work(rig: Rig) -> Work:
    """It will be found at the third look."""
    work = Work(finds_at=3)
    rig.polling.add(work)
    return work


def test_short_sleep_is_learnt_from_and_the_next_is_polled(rig: Rig, work: Work) -> None:
    rig.learn()
    rig.turn()

    assert (work.looks, work.done, rig.polling.polls, rig.polling.hits) == (3, 1, 1, 1)


def test_before_any_sleep_nothing_is_polled_and_no_callback_asked_for(rig: Rig, work: Work) -> None:
    rig.callback()

    assert (rig.soon, work.looks) == ([], 0)


def test_handlers_time_does_not_count(rig: Rig, work: Work) -> None:
    rig.callback(takes=10_000_000)
    rig.now += 10_000
    rig.callback(takes=10_000_000)

    assert rig.polling.time.poll_ns == 4_000


def test_found_is_done_and_polled_for_again(rig: Rig, work: Work) -> None:
    rig.learn()
    rig.turn()
    work.finds_at = 5
    again = rig.turn()

    assert (again, work.done, rig.polling.hits) == (1, 2, 2)


def test_nothing_found_ends_when_the_time_is_up_and_is_not_tried_again(rig: Rig, work: Work) -> None:
    work.finds_at = NEVER
    rig.learn()
    start = rig.now
    rig.turn()
    took = rig.now - start

    assert (rig.polling.hits, rig.turn()) == (0, 0)
    assert 4_000 <= took <= 4_500


def test_sleep_after_polling_in_vain_counts_from_its_beginning(rig: Rig, work: Work) -> None:
    """Two µs after the polling of four had ended: polling for eight would have caught it."""
    work.finds_at = NEVER
    rig.learn()
    rig.turn()
    rig.sleep_then_callback(2_000)

    assert rig.polling.time.poll_ns == 8_000


@pytest.mark.parametrize(("found", "settled"), [(3, 1), (NEVER, 1)])
def test_polled_the_context_looks_for_what_others_have_handed_in(
    rig: Rig, work: Work, found: int, settled: int
) -> None:
    work.finds_at = found
    rig.learn()
    rig.turn()

    assert (rig.bottom_halves.will_look, rig.settled) == (True, settled)


@pytest.mark.parametrize("method", ["poll", "poll_ready"])
def test_pollable_that_raises_leaves_the_context_looking(
    rig: Rig, work: Work, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def broken() -> None:
        raise ValueError("broken")

    monkeypatch.setattr(work, method, broken)
    rig.learn()

    with pytest.raises(ValueError, match="broken"):
        rig.turn()

    assert rig.settled == 1


def test_activity_since_the_last_callback_puts_it_off(rig: Rig, work: Work) -> None:
    """A coroutine goes on step by step: the loop's turns are its own."""
    rig.learn()
    for _ in range(5):
        rig.activity += 1
        rig.turn()
    looks_meanwhile = work.looks
    rig.turn()

    assert (looks_meanwhile, work.looks) == (0, 3)


def test_two_callbacks_in_one_turn_poll_once(rig: Rig, work: Work) -> None:
    rig.learn()
    rig.callback()
    rig.turn()
    rig.turn()

    assert rig.polling.polls == 1


def test_off_asks_for_no_callback_however_short_the_sleeps(rig: Rig, work: Work) -> None:
    rig.polling.set_parameters(PollParameters(0))
    rig.learn()

    assert (rig.soon, rig.turn(), work.looks) == ([], 0, 0)


def test_switched_off_when_it_is_about_to_begin_does_not(rig: Rig, work: Work) -> None:
    rig.learn()
    rig.polling.set_parameters(PollParameters(0))
    rig.turn()

    assert (rig.turn(), work.looks) == (0, 0)


def test_removed_when_it_is_about_to_begin_is_not_polled(rig: Rig, work: Work) -> None:
    rig.learn()
    rig.polling.remove(work)
    rig.turn()

    assert (rig.polling.polls, work.looks) == (0, 0)


def test_without_a_pollable_no_callback_is_asked_for(rig: Rig) -> None:
    rig.learn()

    assert rig.soon == []


def test_descriptor_that_can_t_be_polled_stops_it(rig: Rig, work: Work) -> None:
    rig.pollable = False
    rig.learn()

    assert rig.soon == []


def test_rung_by_a_vcpu_is_not_polled(rig: Rig) -> None:
    work = Work(rung_by_vcpu=True)
    rig.polling.add(work)
    rig.learn()

    assert (rig.soon, work.looks) == ([], 0)


def test_rung_by_a_vcpu_among_others_is_left_out(rig: Rig, work: Work) -> None:
    guests = Work(rung_by_vcpu=True)
    rig.polling.add(guests)
    rig.learn()
    rig.turn()

    assert (guests.looks, work.looks) == (0, 3)


@pytest.fixture
def vcpu() -> Iterator[VcpuThread]:
    vcpu = VcpuThread()
    add_vcpu_thread(vcpu)
    yield vcpu
    remove_vcpu_thread(vcpu)


def test_vcpu_in_the_guest_stops_it(rig: Rig, work: Work, vcpu: VcpuThread) -> None:
    vcpu.in_guest = True
    rig.learn()
    in_guest = list(rig.soon)
    vcpu.in_guest = False
    rig.callback()

    assert (in_guest, len(rig.soon)) == ([], 1)


def test_vcpu_that_enters_the_guest_when_it_is_about_to_begin_stops_it(rig: Rig, work: Work, vcpu: VcpuThread) -> None:
    rig.learn()
    vcpu.in_guest = True
    rig.turn()

    assert work.looks == 0


def test_gil_is_offered_now_and_then(rig: Rig, work: Work) -> None:
    work.finds_at = NEVER
    rig.learn()
    rig.turn()
    rig.sleep_then_callback(3 * OFFER_EVERY)
    rig.turn()

    assert (rig.polling.time.poll_ns, rig.offers) == (2 * OFFER_EVERY, 1)


def test_gil_contended_ends_it_and_rests(rig: Rig, work: Work) -> None:
    work.finds_at = NEVER
    rig.learn()
    rig.turn()
    rig.sleep_then_callback(3 * OFFER_EVERY)
    rig.offer_takes = CONTENDED + 1
    rig.turn()
    rig.callback()

    assert (rig.polling.contended, rig.offers, rig.soon) == (1, 1, [])


def test_handed_in_by_others_ends_it(rig: Rig, work: Work) -> None:
    work.finds_at = NEVER
    rig.learn()
    rig.bottom_halves.incoming.append("bottom half")
    rig.turn()

    assert work.looks == 1


def test_timer_that_falls_due_ends_it(rig: Rig, work: Work) -> None:
    work.finds_at = NEVER
    rig.learn()
    rig.deadline = rig.now + 1_000
    start = rig.now
    rig.turn()

    assert rig.now - start < 1_500


# ---- on a context


async def test_context_off_has_no_polling_at_all(context: AioContext) -> None:
    context.add_pollable(Work())
    before = context.polling
    context.set_poll_parameters(PollParameters(1_000_000))
    on = context.polling
    context.set_poll_parameters(PollParameters(0))

    assert (before, on is not None, context.polling) == (None, True, None)


async def test_context_all_pollable_is_asked_of_what_is_watched_now(context: AioContext) -> None:
    notifier, other = EventNotifier(), EventNotifier()
    answers = [context.all_pollable()]

    context.set_event_notifier(notifier, int, polled=True)
    answers.append(context.all_pollable())
    context.set_event_notifier(other, int)
    answers.append(context.all_pollable())
    context.set_event_notifier(other, None)
    answers.append(context.all_pollable())
    context.set_event_notifier(notifier, int)
    answers.append(context.all_pollable())
    context.set_event_notifier(notifier, None)
    notifier.close()
    other.close()

    assert answers == [True, True, False, True, False]
