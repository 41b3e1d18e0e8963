# SPDX-License-Identifier: GPL-2.0-or-later
"""Handlers that are replaced and removed while events are handed out, from another thread, and that can't be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncemu.loop import AioContext, EventNotifier
from tests.loop.conftest import InThread

pytestmark = pytest.mark.both_loops

MakePair = Callable[[], tuple[socket.socket, socket.socket]]


@pytest.fixture
def make_pair() -> Iterator[MakePair]:
    """Connected sockets; closed with the test."""
    ends: list[socket.socket] = []

    def make() -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair()
        for end in pair:
            end.setblocking(False)
        ends.extend(pair)
        return pair

    yield make
    for end in ends:
        end.close()


async def polls(count: int = 3) -> None:
    """Let the loop look at its descriptors so often."""
    for _ in range(count):
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0, over.set_result, None)
        await over


async def test_reader_that_removes_the_writer_of_its_own_descriptor_keeps_it_from_being_called(
    context: AioContext, make_pair: MakePair
) -> None:
    ours, theirs = make_pair()
    calls: list[str] = []

    def readable() -> None:
        calls.append("readable")
        context.set_fd_handler(ours.fileno(), None, None)

    theirs.send(b"x")
    context.set_fd_handler(ours.fileno(), readable, lambda: calls.append("writable"))
    await polls()

    # The order of the two is the loop's; after the reader there is no writer.
    assert calls[-1] == "readable"
    assert calls.count("readable") == 1


async def test_first_of_two_ready_at_once_removes_the_other_which_is_not_called(
    context: AioContext, make_pair: MakePair
) -> None:
    pairs = [make_pair(), make_pair()]
    called: list[int] = []

    def readable(number: int) -> None:
        called.append(number)
        for ours, _ in pairs:
            context.set_fd_handler(ours.fileno(), None)

    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(b"x")
        context.set_fd_handler(ours.fileno(), lambda number=number: readable(number))  # type: ignore[misc]
    await polls()

    assert len(called) == 1


async def test_first_of_two_ready_at_once_replaces_the_other_whose_old_handler_is_not_called(
    context: AioContext, make_pair: MakePair
) -> None:
    pairs = [make_pair(), make_pair()]
    called: list[str] = []

    def replaced(number: int) -> None:
        called.append(f"new {number}")
        context.set_fd_handler(pairs[number][0].fileno(), None)

    def readable(number: int) -> None:
        called.append("old")
        context.set_fd_handler(pairs[number][0].fileno(), None)
        other = 1 - number
        context.set_fd_handler(pairs[other][0].fileno(), lambda: replaced(other))

    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(b"x")
        context.set_fd_handler(ours.fileno(), lambda number=number: readable(number))  # type: ignore[misc]
    await polls()

    assert called in (["old", "new 0"], ["old", "new 1"])


async def test_handler_that_removes_and_adds_itself_is_called_again(context: AioContext, make_pair: MakePair) -> None:
    ours, theirs = make_pair()
    got: list[bytes] = []

    def readable() -> None:
        got.append(ours.recv(1))
        context.set_fd_handler(ours.fileno(), None)
        context.set_fd_handler(ours.fileno(), readable)

    theirs.send(b"ab")
    context.set_fd_handler(ours.fileno(), readable)
    await polls()

    assert got == [b"a", b"b"]


async def test_reader_alone_replaces_reader_and_writer(context: AioContext, make_pair: MakePair) -> None:
    ours, theirs = make_pair()
    calls: list[str] = []

    context.set_fd_handler(ours.fileno(), None, lambda: calls.append("writable"))
    context.set_fd_handler(ours.fileno(), lambda: calls.append(ours.recv(1).decode()))
    theirs.send(b"r")
    await polls()

    assert calls == ["r"]


async def test_descriptor_closed_and_its_number_used_again_hears_its_own_events(
    context: AioContext, make_pair: MakePair
) -> None:
    ours, _theirs = make_pair()
    number = ours.fileno()
    calls: list[str] = []
    context.set_fd_handler(number, lambda: calls.append("old"))
    context.set_fd_handler(number, None)
    ours.close()
    second, other = make_pair()  # the kernel takes the lowest number that is free
    context.set_fd_handler(second.fileno(), lambda: calls.append(second.recv(1).decode()))

    other.send(b"n")
    await polls()

    assert (second.fileno(), calls) == (number, ["n"])


async def test_from_another_thread_takes_effect_in_a_later_round(
    context: AioContext, make_pair: MakePair, in_thread: InThread
) -> None:
    ours, theirs = make_pair()
    heard: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def readable() -> None:
        context.set_fd_handler(ours.fileno(), None)
        heard.set_result(context.in_home())

    theirs.send(b"x")
    in_thread(lambda: context.set_fd_handler(ours.fileno(), readable)).join()

    assert await heard


async def test_from_another_thread_removes(context: AioContext, make_pair: MakePair, in_thread: InThread) -> None:
    ours, theirs = make_pair()
    calls: list[str] = []
    context.set_fd_handler(ours.fileno(), lambda: calls.append("heard"))

    in_thread(lambda: context.set_fd_handler(ours.fileno(), None)).join()
    await polls()
    theirs.send(b"x")
    await polls()

    assert calls == []


async def test_descriptor_that_can_t_be_watched_is_an_error_and_leaves_nothing(
    context: AioContext, tmp_path: Path
) -> None:
    with (tmp_path / "regular").open("w") as file:
        with pytest.raises(OSError, match="not permitted"):
            context.set_fd_handler(file.fileno(), None, lambda: None)

        assert context._handlers.descriptors() == set()


async def test_after_close_is_ignored(make_pair: MakePair) -> None:
    context = AioContext(asyncio.get_running_loop(), "short")
    ours, theirs = make_pair()
    calls: list[str] = []
    context.close()

    context.set_fd_handler(ours.fileno(), lambda: calls.append("heard"))
    theirs.send(b"x")
    await polls()

    assert calls == []


async def test_close_with_handlers_calls_none_any_more(make_pair: MakePair) -> None:
    """Also the one whose event has been collected with that of the one that closes."""
    context = AioContext(asyncio.get_running_loop(), "short")
    pairs = [make_pair(), make_pair()]
    called: list[str] = []

    def readable() -> None:
        called.append("first")
        context.close()

    for ours, theirs in pairs:
        theirs.send(b"x")
        context.set_fd_handler(ours.fileno(), readable)
    await polls()

    assert called == ["first"]


# ---- event notifiers


async def test_notifier_removed_by_another_that_is_rung_at_once_is_not_heard(context: AioContext) -> None:
    notifiers = [EventNotifier(active=True), EventNotifier(active=True)]
    heard: list[str] = []

    def callback() -> None:
        heard.append("heard")
        for notifier in notifiers:
            context.set_event_notifier(notifier, None)

    for notifier in notifiers:
        context.set_event_notifier(notifier, callback)
    await polls()
    for notifier in notifiers:
        notifier.close()

    assert heard == ["heard"]


async def test_notifier_that_somebody_else_has_cleared_is_not_heard(context: AioContext) -> None:
    notifier = EventNotifier(active=True)
    heard: list[str] = []
    context.set_event_notifier(notifier, lambda: heard.append("heard"))

    notifier.test_and_clear()
    await polls()
    context.set_event_notifier(notifier, None)
    notifier.close()

    assert heard == []
