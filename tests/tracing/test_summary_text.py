# SPDX-License-Identifier: GPL-2.0-or-later
"""A summary as people see it."""

from __future__ import annotations

import pytest

from asyncemu.tracing import Track
from asyncemu.tracing.recorder import INSTANT
from asyncemu.tracing.summary import summarize
from asyncemu.tracing.summary_text import duration_text, render

MS = 1_000_000


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (9_994, "9.99 µs"),
        (9_995, "10.0 µs"),
        (99_949, "99.9 µs"),
        (99_950, "100 µs"),
        (999_499, "999 µs"),
        (999_500, "1.00 ms"),
        (45_600_000, "45.6 ms"),
        (999_500_000, "1.00 s"),
        (120_000_000_000, "120 s"),
    ],
)
def test_duration_has_three_digits(ns: int, text: str) -> None:
    assert duration_text(ns) == text


def test_whole_summary() -> None:
    loop = Track(
        "main",
        1,
        (
            *(("coroutine", "VirtioBlk.requestq", at * MS, at * MS + 100_000) for at in range(99)),
            ("coroutine", "VirtioBlk.requestq", 100 * MS, 104 * MS),
            ("handler", "EventNotifier fd 7", 100 * MS, 105 * MS),
        ),
        dropped=1234,
    )
    poller = Track("IO io0", 3, (("poll", "miss", 0, 50 * MS), ("bh", "x", 50 * MS, 51 * MS)))
    vcpu = Track("CPU 0/TCG", 2, (("mmio", "uart", 10 * MS, 20 * MS), ("guest", "run", 0, 50 * MS)))
    watchdog = Track("stall detector", 4, (("stall", "main: x", 7, INSTANT),))

    assert render(summarize([loop, poller, vcpu, watchdog], 2), 5) == [
        "105 ms, 106 events of 4 threads",
        "",
        "main (loop): 101 events, 1,234 older ones dropped, busy 14.2 %",
        "  category   name                count    total     self     mean      p50      p99      max"
        "  from 65.5 µs, doubling",
        "  coroutine  VirtioBlk.requestq    100  13.9 ms  13.9 ms   139 µs   100 µs   100 µs  4.00 ms  █    ▁",
        "  handler    EventNotifier fd 7      1  5.00 ms  1.00 ms  5.00 ms  5.00 ms  5.00 ms  5.00 ms        █",
        "",
        "IO io0 (loop): 2 events, busy 1.0 %, polling 47.6 %",
        "  category  name  count    total     self     mean      p50      p99      max  from 524 µs, doubling",
        "  poll      miss      1  50.0 ms  50.0 ms  50.0 ms  50.0 ms  50.0 ms  50.0 ms        █",
        "  bh        x         1  1.00 ms  1.00 ms  1.00 ms  1.00 ms  1.00 ms  1.00 ms  █",
        "",
        "CPU 0/TCG (vCPU): 2 events, busy 47.6 %, guest 38.1 %, halt 0.0 %, fence 0.0 %, mmio 9.5 %",
        "  category  name  count    total     self     mean      p50      p99      max  from 8.39 ms, doubling",
        "  guest     run       1  50.0 ms  40.0 ms  50.0 ms  50.0 ms  50.0 ms  50.0 ms    █",
        "  mmio      uart      1  10.0 ms  10.0 ms  10.0 ms  10.0 ms  10.0 ms  10.0 ms  █",
        "",
        "stall detector: 1 event, busy 0.0 %",
        "  count  category  instant",
        "      1  stall     main: x",
        "",
        "longest callbacks of loops",
        "  loop         at   length  caused by",
        "  main     100 ms  5.00 ms  handler EventNotifier fd 7, in it coroutine VirtioBlk.requestq 4.00 ms",
        "  IO io0  50.0 ms  1.00 ms  bh x",
    ]


def test_rows_beyond_the_top_are_added_up() -> None:
    track = Track("x", 1, tuple(("worker", f"call {number}", number * MS, number * MS + 1000) for number in range(5)))

    lines = render(summarize([track], 3), 3)

    assert len(lines) == 8
    assert lines[-1] == "  and 2 more: 2.00 µs of self time"


def test_nothing_is_a_line() -> None:
    assert render(summarize([], 3), 3) == ["0 ns, 0 events of 0 threads"]


def test_thread_without_events_is_a_line() -> None:
    assert render(summarize([Track("x", 1, ())], 3), 3)[2:] == ["x: 0 events, busy 0.0 %"]


def test_names_do_not_steer_the_terminal() -> None:
    track = Track("a\x1b[2J", 1, (("bh", "b\nc", 0, 1), ("x\r", "i\x07", 1, INSTANT)))

    text = "\n".join(render(summarize([track], 1), 1))

    assert "a\\x1b[2J" in text
    assert "b\\nc" in text
    assert "i\\x07" in text
    assert text.replace("\n", "").isprintable()


def test_long_names_are_cut() -> None:
    events = (("bh", "b" * 1000, 0, 1), ("c" * 1000, "x" * 1000, 1, 3), ("d" * 1000, "y" * 1000, 4, INSTANT))

    lines = render(summarize([Track("n" * 1000, 1, events)], 2), 2)

    assert max(map(len, lines)) < 220
