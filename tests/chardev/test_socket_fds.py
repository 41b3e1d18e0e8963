# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors over a unix socket, both ways."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev.socket import Socket
from asyncemu.chardev.wire import MAX_FDS
from asyncemu.errors import ChardevError
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import Recorder, read_exactly


def open_fds() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """For the chardev, and for the test."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


Pair = tuple[socket.socket, socket.socket]


async def opened(make_chardev: MakeChardev, recorder: Recorder, pair: Pair) -> Socket:
    chardev: Socket = make_chardev("socket", fd=pair[0].fileno())
    chardev.attach(recorder)
    await chardev.open()
    return chardev


async def test_take_fds_gives_what_came_with_the_data(
    make_chardev: MakeChardev, pair: Pair, pipe: tuple[int, int]
) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder, pair)

    socket.send_fds(pair[1], [b"getfd"], [pipe[1]])
    await recorder.until_received(b"getfd")
    (fd,) = chardev.take_fds()
    os.write(fd, b"x")
    inheritable = os.get_inheritable(fd)
    os.close(fd)

    assert os.read(pipe[0], 1) == b"x"
    assert not inheritable
    assert chardev.take_fds() == []


async def test_take_fds_newer_ones_take_the_place_of_those_that_nobody_took(
    make_chardev: MakeChardev, pair: Pair, pipe: tuple[int, int]
) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder, pair)
    before = open_fds()

    for number in range(3):
        socket.send_fds(pair[1], [b"x"], [pipe[1]])
        await recorder.until_received(b"x" * (number + 1))

    during = open_fds() - before
    fds = chardev.take_fds()
    os.close(fds[0])

    assert len(during) == len(fds) == 1


async def test_take_fds_more_than_there_is_room_for_are_closed(
    make_chardev: MakeChardev, pair: Pair, pipe: tuple[int, int]
) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder, pair)
    before = open_fds()

    socket.send_fds(pair[1], [b"x"], [pipe[1]] * (MAX_FDS + 5))
    await recorder.until_received(b"x")
    during = open_fds() - before
    fds = chardev.take_fds()
    for fd in fds:
        os.close(fd)

    assert len(fds) == len(during) == MAX_FDS


async def test_fds_that_nobody_took_are_closed_when_the_peer_leaves(
    make_chardev: MakeChardev, pair: Pair, pipe: tuple[int, int]
) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder, pair)
    socket.send_fds(pair[1], [b"x"], [pipe[1]])
    await recorder.until_received(b"x")
    before = open_fds()

    pair[1].close()
    await recorder.until_event(ChardevEvent.CLOSED)

    # The peer's end, the chardev's, its watcher, and the one that came.
    assert len(before - open_fds()) == 4
    assert chardev.take_fds() == []


async def test_send_fds_go_with_the_next_write(make_chardev: MakeChardev, pair: Pair, pipe: tuple[int, int]) -> None:
    chardev = await opened(make_chardev, Recorder(), pair)

    took = chardev.send_fds([pipe[1]])
    chardev.write(b"x")
    data, fds, _, _ = socket.recv_fds(pair[1], 10, 10)
    os.write(fds[0], b"y")
    os.close(fds[0])
    chardev.write(b"z")

    assert took
    assert data == b"x"
    assert os.read(pipe[0], 1) == b"y"
    assert await read_exactly(pair[1].fileno(), 1) == b"z"


async def test_send_fds_are_copies_and_closed_when_the_chardev_is(
    make_chardev: MakeChardev, pair: Pair, pipe: tuple[int, int]
) -> None:
    before = open_fds()
    chardev = await opened(make_chardev, Recorder(), pair)
    chardev.send_fds([pipe[1], pipe[1]])
    chardev.send_fds([pipe[1]])

    await chardev.close()

    assert open_fds() == before


async def test_send_fds_that_are_not_open_is_one_line(make_chardev: MakeChardev, pair: Pair) -> None:
    chardev = await opened(make_chardev, Recorder(), pair)

    with pytest.raises(ChardevError) as caught:
        chardev.send_fds([pair[0].fileno(), 1000])

    assert str(caught.value) == "console: send descriptors: Bad file descriptor"


async def test_send_fds_too_many_are_refused(make_chardev: MakeChardev, pair: Pair) -> None:
    chardev = await opened(make_chardev, Recorder(), pair)

    with pytest.raises(ValueError, match=r"^17 descriptors; 16 at most can be sent at once$"):
        chardev.send_fds([0] * 17)


async def test_send_fds_over_tcp_is_false(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    with socket.create_server(("127.0.0.1", 0)) as server:
        chardev = make_chardev("socket", host="127.0.0.1", port=server.getsockname()[1])
        chardev.attach(recorder)
        await chardev.open()

        assert not chardev.send_fds([0])
        assert chardev.take_fds() == []


async def test_fds_of_another_back_end_do_not_exist(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("null")

    assert not chardev.send_fds([0])
    assert chardev.take_fds() == []
