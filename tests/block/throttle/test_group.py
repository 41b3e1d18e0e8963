# SPDX-License-Identifier: GPL-2.0-or-later
"""ThrottleGroup and its members, on a clock that stands still until the test moves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block.throttle.buckets import READ, SECOND_NS, WRITE
from asyncemu.block.throttle.config import BucketLimit, ThrottleConfig
from asyncemu.block.throttle.group import ThrottleGroup
from asyncemu.block.throttle.member import ThrottleMember
from asyncemu.block.throttle.registry import ThrottleGroups
from asyncemu.coroutines import Coroutine, start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext, Clock, ClockKind, IOThread
from asyncemu.testing.fake_clock import FakeClock

#: Ten requests a second; the first two pass at once: one fills the bucket, the second finds it not over-full.
TENTH = SECOND_NS // 10
TEN = BucketLimit(10)


NONE = BucketLimit()


def limits(iops_total: BucketLimit = TEN, bps_write: BucketLimit = NONE) -> ThrottleConfig:
    return ThrottleConfig((NONE, NONE, bps_write, iops_total, NONE, NONE))


class Bench:
    """A group, and what its members' requests have come to."""

    def __init__(self, context: AioContext, config: ThrottleConfig) -> None:
        self.context = context
        self.time = FakeClock()
        self.group = ThrottleGroup("g", config, Clock(ClockKind.REALTIME, self.time))
        #: Names of those that went on, in order.
        self.passed: list[str] = []

    def member(self) -> ThrottleMember:
        return ThrottleMember(self.group, self.context)

    def request(self, member: ThrottleMember, name: str, direction: int = READ, length: int = 512) -> Coroutine[None]:
        """Begin a request."""

        async def body() -> None:
            waiter = member.begin(direction, length)
            if waiter is not None:
                await member.wait(waiter, direction, length)
            self.passed.append(name)

        return start(self.context, body())

    async def advance(self, ns: int) -> list[str]:
        """Let so much time pass, in steps; who has gone on meanwhile."""
        before = len(self.passed)
        await settle()
        for _ in range(10):
            self.time.advance(ns // 10)
            await settle()
        return self.passed[before:]


async def settle() -> None:
    """Let all go on that can."""
    for _ in range(10):
        await asyncio.sleep(0)


MakeBench = Callable[[ThrottleConfig], Bench]


@pytest.fixture
def bench(context: AioContext) -> MakeBench:
    return lambda config: Bench(context, config)


async def test_request_without_limits_passes_at_once(bench: MakeBench) -> None:
    here = bench(ThrottleConfig())
    member = here.member()
    requests = [here.request(member, str(number)) for number in range(100)]
    assert all(request.done() for request in requests)


async def test_requests_beyond_the_limit_pass_one_in_each_interval(bench: MakeBench) -> None:
    here = bench(limits())
    member = here.member()
    for number in range(6):
        here.request(member, str(number))
    assert here.passed == ["0", "1"]
    assert [await here.advance(TENTH) for _ in range(5)] == [["2"], ["3"], ["4"], ["5"], []]


async def test_requests_of_one_member_pass_in_their_order(bench: MakeBench) -> None:
    here = bench(limits())
    member = here.member()
    for number in range(20):
        here.request(member, str(number))
    await here.advance(3 * SECOND_NS)
    assert here.passed == [str(number) for number in range(20)]


async def test_members_take_turns(bench: MakeBench) -> None:
    here = bench(limits())
    one, two = here.member(), here.member()
    for number in range(6):
        here.request(one, f"one {number}")
    for number in range(2):
        here.request(two, f"two {number}")
    for _ in range(6):
        await here.advance(TENTH)
    # The first two find the bucket empty, then it is turn about for as long as both have requests.
    assert here.passed[2:] == ["one 2", "two 0", "one 3", "two 1", "one 4", "one 5"]


async def test_members_share_the_rate(bench: MakeBench) -> None:
    here = bench(limits())
    members = [here.member() for _ in range(5)]
    for number in range(40):
        here.request(members[number % 5], str(number))
    assert len(await here.advance(SECOND_NS)) == 10
    await here.advance(4 * SECOND_NS)


async def test_directions_wait_for_their_own_limits(bench: MakeBench) -> None:
    here = bench(limits(iops_total=BucketLimit(), bps_write=BucketLimit(1000)))
    member = here.member()
    here.request(member, "write 0", WRITE, 600)
    here.request(member, "write 1", WRITE, 600)
    here.request(member, "read", READ, 1 << 20)
    assert here.passed == ["write 0", "read"]
    assert await here.advance(SECOND_NS // 2) == ["write 1"]


async def test_burst_passes_at_once_and_the_rest_at_the_rate(bench: MakeBench) -> None:
    here = bench(limits(BucketLimit(10, 20)))
    member = here.member()
    for number in range(25):
        here.request(member, str(number))
    assert len(here.passed) == 21
    assert [await here.advance(TENTH) for _ in range(4)] == [["21"], ["22"], ["23"], ["24"]]


async def test_configure_without_limits_lets_all_go_on(bench: MakeBench) -> None:
    here = bench(limits(BucketLimit(1)))
    members = here.member(), here.member()
    for number in range(8):
        here.request(members[number % 2], str(number))
    here.group.configure(ThrottleConfig())
    assert sorted(await here.advance(10)) == ["1", "2", "3", "4", "5", "6", "7"]


async def test_configure_other_limits_holds_for_those_that_wait(bench: MakeBench) -> None:
    here = bench(limits(BucketLimit(1)))
    member = here.member()
    for number in range(5):
        here.request(member, str(number))
    here.group.configure(limits(BucketLimit(1000)))
    assert await here.advance(SECOND_NS // 100) == ["1", "2", "3", "4"]


# ---- drained sections


async def test_unlimited_member_lets_its_requests_go_on_and_not_those_of_others(bench: MakeBench) -> None:
    here = bench(limits())
    one, two = here.member(), here.member()
    for number in range(4):
        here.request(one, f"one {number}")
        here.request(two, f"two {number}")
    one.begin_unlimited()
    await settle()
    assert {name for name in here.passed if name.startswith("one")} == {f"one {number}" for number in range(4)}
    assert [name for name in here.passed if name.startswith("two")] == ["two 0"]
    one.end_unlimited()
    await here.advance(SECOND_NS)
    assert [name for name in here.passed if name.startswith("two")] == [f"two {number}" for number in range(4)]


async def test_unlimited_member_passes_though_others_wait(bench: MakeBench) -> None:
    here = bench(limits())
    one, two = here.member(), here.member()
    for number in range(4):
        here.request(two, str(number))
    one.begin_unlimited()
    assert here.request(one, "drained").done()


async def test_unlimited_what_passes_is_accounted_for(bench: MakeBench) -> None:
    here = bench(limits())
    member = here.member()
    member.begin_unlimited()
    for number in range(11):
        here.request(member, str(number))
    member.end_unlimited()
    here.request(member, "limited")
    assert await here.advance(9 * TENTH) == []
    assert await here.advance(2 * TENTH) == ["limited"]


# ---- cancellation


@pytest.mark.parametrize("which", [2, 3, 4])
async def test_cancelled_while_it_waits_the_others_go_on(bench: MakeBench, which: int) -> None:
    here = bench(limits())
    members = here.member(), here.member()
    requests = [here.request(members[number % 2], str(number)) for number in range(6)]
    requests[which].cancel()
    await here.advance(SECOND_NS)
    assert sorted(here.passed) == [str(number) for number in range(6) if number != which]
    with pytest.raises(asyncio.CancelledError):
        await requests[which]


async def test_cancelled_when_its_turn_has_come_the_next_takes_it(bench: MakeBench) -> None:
    here = bench(limits())
    member = here.member()
    requests = [here.request(member, str(number)) for number in range(5)]
    here.time.advance(TENTH)  # "2" has been woken and has not gone on
    requests[2].cancel()
    await here.advance(3 * TENTH)
    assert here.passed == ["0", "1", "3", "4"]


# ---- coming and going


async def test_leave_of_the_member_with_the_turn_does_not_stop_the_others(bench: MakeBench) -> None:
    here = bench(limits())
    one, two = here.member(), here.member()
    requests = [here.request(one, str(number)) for number in range(3)]
    here.request(two, "two")
    requests[2].cancel()
    await settle()
    one.leave()
    assert await here.advance(3 * TENTH) == ["two"]
    assert here.group.members == [two]


async def test_detach_with_the_timer_of_the_group_hands_it_over(bench: MakeBench, context: AioContext) -> None:
    here = bench(limits())
    one, two = here.member(), here.member()
    requests = [here.request(one, str(number)) for number in range(3)]
    here.request(two, "two")
    requests[2].cancel()
    await settle()
    one.detach()
    assert await here.advance(3 * TENTH) == ["two"]
    one.attach(context)
    assert here.request(one, "again").done()


async def test_groups_are_found_by_name_and_removed_without_members(context: AioContext) -> None:
    groups = ThrottleGroups()
    group = groups.add("bar", limits(), "throttle-group[0]")
    member = ThrottleMember(groups.find("bar", "x"), context)
    with pytest.raises(ConfigError, match="A group with this name already exists"):
        groups.add("bar", limits(), "throttle-group[1]")
    with pytest.raises(ConfigError, match="Throttle group 'foo' does not exist"):
        groups.find("foo", "x")
    with pytest.raises(BlockError, match="busy"):
        groups.remove("bar")
    assert list(groups) == [group]
    member.leave()
    groups.remove("bar")
    assert "bar" not in groups


# ---- several contexts


async def test_members_in_several_threads_all_requests_pass(context: AioContext, iothreads: list[IOThread]) -> None:
    groups = ThrottleGroups()
    group = groups.add("g", limits(BucketLimit(5000)), "throttle-group[0]")
    homes = [context, *(thread.aio_context for thread in iothreads)]
    passed = [0, 0, 0]

    async def use(number: int) -> None:
        member = ThrottleMember(group, homes[number])

        async def body() -> None:
            for _ in range(20):
                waiter = member.begin(WRITE, 512)
                if waiter is not None:
                    await member.wait(waiter, WRITE, 512)
                passed[number] += 1

        for request in [start(homes[number], body()) for _ in range(5)]:
            await request
        member.leave()

    async with asyncio.timeout(30):
        await asyncio.gather(*(home.call(lambda number=number: use(number)) for number, home in enumerate(homes)))  # type: ignore[misc]
    assert passed == [100, 100, 100]
    assert group.members == []


# ---- any sequence

step = st.one_of(
    st.tuples(st.just("request"), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.just("cancel"), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("drain"), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.just("move"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("configure"), st.integers(0, 20), st.just(0)),
    st.tuples(st.just("advance"), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("jump"), st.integers(0, 3), st.just(0)),
)


async def any_sequence(steps: list[tuple[str, int, int]]) -> None:
    context = AioContext(asyncio.get_running_loop(), "any")
    here = Bench(context, limits())
    members = [here.member() for _ in range(3)]
    requests: list[Coroutine[None]] = []
    for what, number, other in steps:
        match what:
            case "request":
                requests.append(here.request(members[number], str(len(requests)), other))
            case "cancel" if number < len(requests):
                requests[number].cancel()
            case "drain" if other:
                members[number].begin_unlimited()
                await settle()
            case "drain":
                members[number].end_unlimited()
            case "move" if all(request.done() for request in requests):
                members[number].detach()
                members[number].attach(context)
            case "configure":
                here.group.configure(limits(BucketLimit(number)))
            case "advance":
                await here.advance(number * TENTH)
            case "jump":
                here.time.advance(number * TENTH)
    for member in members:
        member.end_unlimited()
    here.group.configure(limits(BucketLimit(100)))
    await here.advance(10 * SECOND_NS)
    for member in members:
        member.leave()
    cancelled = [request for request in requests if isinstance(request.error, asyncio.CancelledError)]
    assert len(here.passed) + len(cancelled) == len(requests)
    assert len(set(here.passed)) == len(here.passed)
    context.close()


@settings(max_examples=100, deadline=None)
@given(st.lists(step, max_size=60))
def test_any_sequence_no_request_is_forgotten(steps: list[tuple[str, int, int]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(any_sequence(steps))
