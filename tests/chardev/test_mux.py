# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import re

from asyncemu.chardev import ChardevEvent, MuxCommand
from asyncemu.chardev.mux import READ_AHEAD, Mux
from tests.chardev.recorder import Recorder


class Bench:
    """A mux with its surroundings recorded."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.commands: list[MuxCommand] = []
        self.now = 0
        self.mux = Mux(self.said.append, self.commands.append, lambda: self.now)


async def test_mux_input_goes_to_first_front_end() -> None:
    bench, first, second = Bench(), Recorder(), Recorder()
    bench.mux.attach(first)
    bench.mux.attach(second)

    bench.mux.deliver(b"abc")

    assert (first.received, second.received) == (b"abc", b"")


async def test_mux_switch_hands_input_to_next() -> None:
    bench, first, second = Bench(), Recorder(), Recorder()
    bench.mux.attach(first)
    bench.mux.attach(second)

    bench.mux.deliver(b"a\x01cb\x01cc")

    assert (first.received, second.received) == (b"ac", b"b")
    assert first.events == [ChardevEvent.MUX_OUT, ChardevEvent.MUX_IN]
    assert second.events == [ChardevEvent.MUX_IN, ChardevEvent.MUX_OUT]


async def test_mux_switch_alone_says_so_in_one_line() -> None:
    bench, only = Bench(), Recorder()
    bench.mux.attach(only)

    bench.mux.deliver(b"\x01c")

    assert bench.said == ["nothing to switch to: this machine has no monitor here"]


async def test_mux_help_names_every_command() -> None:
    bench = Bench()

    bench.mux.deliver(b"\x01h")

    (text,) = bench.said
    assert all(f"Ctrl-A {command.value} " in text for command in MuxCommand)


async def test_mux_quit_reaches_machine_without_front_end() -> None:
    bench = Bench()

    bench.mux.deliver(b"\x01x")

    assert bench.commands == [MuxCommand.QUIT]


async def test_mux_quit_is_heard_while_front_end_takes_nothing() -> None:
    bench, stuck = Bench(), Recorder(limit=0)
    bench.mux.attach(stuck)

    bench.mux.deliver(b"typed\x01x")

    assert bench.commands == [MuxCommand.QUIT]


async def test_mux_typed_before_attach_reaches_first_front_end() -> None:
    bench, late = Bench(), Recorder()
    bench.mux.deliver(b"early")

    bench.mux.attach(late)
    bench.mux.accept_input()

    assert late.received == b"early"


async def test_mux_slow_front_end_bounds_read_ahead_and_loses_nothing() -> None:
    bench, slow = Bench(), Recorder(limit=0)
    bench.mux.attach(slow)
    sent = bytes(range(2, 34)) * (READ_AHEAD // 32)

    bench.mux.deliver(sent)
    room_when_full = bench.mux.room()
    slow.limit = len(sent)
    bench.mux.accept_input()

    assert room_when_full == 0
    assert slow.received == sent
    assert bench.mux.room() == READ_AHEAD


async def test_mux_break_goes_to_focus_only() -> None:
    bench, first, second = Bench(), Recorder(), Recorder()
    bench.mux.attach(first)
    bench.mux.attach(second)

    bench.mux.deliver(b"\x01b")

    assert (first.events, second.events) == ([ChardevEvent.BREAK], [])


async def test_mux_detached_focus_goes_to_next() -> None:
    bench, first, second = Bench(), Recorder(), Recorder()
    bench.mux.attach(first)
    bench.mux.attach(second)

    bench.mux.detach(None)
    bench.mux.deliver(b"x")

    assert (first.received, second.received) == (b"", b"x")


async def test_mux_detach_of_stranger_changes_nothing() -> None:
    bench, only = Bench(), Recorder()
    bench.mux.attach(only)

    bench.mux.detach(Recorder())

    assert bench.mux.focus is only


async def test_mux_closed_peer_takes_half_command_along() -> None:
    bench, only = Bench(), Recorder()
    bench.mux.attach(only)

    bench.mux.deliver(b"\x01")
    bench.mux.event(ChardevEvent.CLOSED)
    bench.mux.deliver(b"x")

    assert (only.received, bench.commands) == (b"x", [])


async def test_mux_timestamps_mark_each_following_line() -> None:
    bench = Bench()
    bench.mux.deliver(b"\x01t")

    first = bench.mux.decorate(b"rest of line\n")
    bench.now = 3_723_004_000_000
    second = bench.mux.decorate(b"one\ntwo\nthr")
    third = bench.mux.decorate(b"ee\n")

    assert first == b"rest of line\n"
    assert second == b"[01:02:03.004] one\n[01:02:03.004] two\n[01:02:03.004] thr"
    assert third == b"ee\n"


async def test_mux_timestamps_twice_are_off() -> None:
    bench = Bench()

    bench.mux.deliver(b"\x01t\x01t")

    assert not re.search(rb"\[", bench.mux.decorate(b"a\nb\n"))
