# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace``, and the options of ``run`` that tracing and the stall detector have."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any

import pytest

from asyncemu.cli import run
from asyncemu.errors import GuestError
from asyncemu.loop import AioContext
from asyncemu.tracing import Track, perfetto, perfetto_reader, tracer
from tests.cli.conftest import Result

CALL = tuple(("bh", "refill", at, at + 500) for at in range(0, 3000, 1000))


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """The name of a trace."""
    perfetto.write(perfetto.create(tmp_path / "t.pftrace.gz"), [Track("main", 1, CALL)])
    return "t.pftrace.gz"


def test_trace_prints_the_summary(asyncemu: Callable[..., Result], trace: str) -> None:
    result = asyncemu("trace", trace)

    assert (result.status, result.errors) == (0, "")
    assert result.output.splitlines() == [
        "2.50 µs, 3 events of 1 thread",
        "",
        "main (loop): 3 events, busy 60.0 %",
        "  category  name    count    total     self    mean     p50     p99     max  from 256 ns, doubling",
        "  bh        refill      3  1.50 µs  1.50 µs  500 ns  500 ns  500 ns  500 ns  █",
        "",
        "longest callbacks of loops",
        "  loop       at  length  caused by",
        "  main     0 ns  500 ns  bh refill",
        "  main  1.00 µs  500 ns  bh refill",
        "  main  2.00 µs  500 ns  bh refill",
    ]


def test_trace_top_bounds_the_tables(asyncemu: Callable[..., Result], trace: str) -> None:
    lines = asyncemu("trace", trace, "--top", "1").output.splitlines()

    assert lines[-2:] == ["  loop    at  length  caused by", "  main  0 ns  500 ns  bh refill"]


def test_trace_for_a_terminal_that_can_not_show_it_has_question_marks(
    asyncemu: Callable[..., Result], trace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)

    assert asyncemu("trace", trace).status == 0

    output.seek(0)
    assert output.read().startswith("2.50 ?s, 3 events of 1 thread\n")


COMMAND_LINES: dict[str, tuple[list[str], int, str]] = {
    "no file": (
        ["trace"],
        2,
        "command line: the following arguments are required: FILE; see asyncemu trace --help",
    ),
    "missing file": (
        ["trace", "nope"],
        2,
        "nope: no such file or directory; give a trace that asyncemu run --trace wrote",
    ),
    "another file": (
        ["trace", "vm.toml"],
        1,
        "vm.toml, byte 0: no packet of a Perfetto trace begins here",
    ),
    **{
        f"top {top}": (
            ["trace", "t", "--top", top],
            2,
            f"command line: argument --top: {top!r} is not a number above 0; see asyncemu trace --help",
        )
        for top in ("0", "-1", "x", "1.5", "\u0663", "1" * 5000)
    },
    **{
        f"stall {stall}": (
            ["run", "vm.toml", f"--stall={stall}"],
            2,
            f"command line: argument --stall: {stall!r} is not a number of milliseconds from 1 to 3600000; "
            "see asyncemu run --help",
        )
        for stall in ("0", "0.9", "-5", "x", "nan", "inf", "1e300")
    },
    "trace where nothing can be": (
        ["run", "vm.toml", "--trace", "nowhere/t"],
        2,
        "nowhere/t: no such file or directory; give a trace the name of a file that can be written",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", COMMAND_LINES)
def test_bad_command_line_is_one_line(case: str, asyncemu: Callable[..., Result], vm: Callable[[str], None]) -> None:
    vm('[machine]\nmemory = "8M"\n')
    arguments, status, line = COMMAND_LINES[case]

    result = asyncemu(*arguments)

    assert result == Result(status, "", f"asyncemu: {line}\n")


# ---- run --trace


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, vm: Callable[[str], None]) -> Iterator[Callable[[Any], None]]:
    """``machine(function)``: what takes the place of the machine's run. The tracer is off and empty afterwards."""
    vm('[machine]\nmemory = "8M"\n')
    before = signal.getsignal(signal.SIGUSR1)

    def use(function: Callable[[], object]) -> None:
        def run_machine(config: object, interrupts: object, stall_ns: int | None) -> int:
            function()
            return 1

        monkeypatch.setattr(run, "run_machine", run_machine)

    yield use
    signal.signal(signal.SIGUSR1, before)
    tracer.start()
    tracer.stop()


def spans(path: Path) -> list[str]:
    return [event[1] for track in perfetto_reader.read(path) for event in track.events]


def record(name: str) -> None:
    """As an instrumented place does."""
    if tracer.on:
        tracer.span("bh", name, monotonic_ns())


@pytest.mark.parametrize("name", ["t.pftrace", "t.pftrace.gz"])
def test_run_with_trace_writes_what_happened(
    name: str, asyncemu: Callable[..., Result], machine: Callable[[Any], None], tmp_path: Path
) -> None:
    record("before")
    machine(lambda: record("run"))

    result = asyncemu("vm.toml", "--trace", name)

    assert result == Result(1, "", "")
    assert spans(tmp_path / name) == ["run"]
    assert not tracer.on


def test_run_with_trace_writes_it_also_when_the_machine_fails(
    asyncemu: Callable[..., Result], machine: Callable[[Any], None], tmp_path: Path
) -> None:
    def fail() -> None:
        record("run")
        raise GuestError("is out of its mind", "cpu")

    machine(fail)

    assert asyncemu("vm.toml", "--trace", "t") == Result(1, "", "asyncemu: cpu: is out of its mind\n")
    assert spans(tmp_path / "t") == ["run"]


def test_sigusr1_switches_recording_off_and_on(
    asyncemu: Callable[..., Result], machine: Callable[[Any], None], tmp_path: Path
) -> None:
    def life() -> None:
        for name in ("one", "two", "three"):
            record(name)
            os.kill(os.getpid(), signal.SIGUSR1)

    machine(life)

    asyncemu("vm.toml", "--trace", "t")

    assert spans(tmp_path / "t") == ["one", "three"]


def test_sigusr1_after_the_end_does_no_harm(asyncemu: Callable[..., Result], machine: Callable[[Any], None]) -> None:
    machine(lambda: None)

    asyncemu("vm.toml", "--trace", "t")

    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN


def test_run_without_trace_leaves_the_signal_and_the_tracer_alone(
    asyncemu: Callable[..., Result], machine: Callable[[Any], None]
) -> None:
    handlers = [signal.getsignal(signal.SIGUSR1)]
    machine(lambda: handlers.append(signal.getsignal(signal.SIGUSR1)))

    asyncemu("vm.toml")

    assert handlers[0] == handlers[1]
    assert not tracer.on


def test_disk_that_is_full_is_one_line(
    asyncemu: Callable[..., Result], machine: Callable[[Any], None], tmp_path: Path
) -> None:
    (tmp_path / "t").symlink_to("/dev/full")
    machine(lambda: record("run"))

    assert asyncemu("vm.toml", "--trace", "t") == Result(1, "", "asyncemu: t: write: No space left on device\n")


# ---- run --stall


def test_run_hands_the_threshold_to_the_machine_in_ns(
    asyncemu: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, vm: Callable[[str], None]
) -> None:
    vm('[machine]\nmemory = "8M"\n')
    handed: list[int | None] = []

    def run_machine(config: object, interrupts: object, stall_ns: int | None) -> int:
        handed.append(stall_ns)
        return 0

    monkeypatch.setattr(run, "run_machine", run_machine)

    asyncemu("vm.toml", "--stall", "12.5")
    asyncemu("vm.toml")

    assert handed == [12_500_000, None]


class FakeMachine:
    def __init__(self, context: AioContext) -> None:
        self.context = context

    def contexts(self) -> list[AioContext]:
        return [self.context]


async def test_stall_is_logged(context: AioContext, caplog: pytest.LogCaptureFixture) -> None:
    logged = threading.Event()
    over = asyncio.get_running_loop().create_future()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.set()

    def holds_the_loop() -> None:
        # Not around more than this: on a busy host there might be another stall first.
        with run._watched(FakeMachine(context), 4_000_000):  # type: ignore[arg-type]
            logged.wait(10)
        over.set_result(None)

    handler = Watch()
    logging.getLogger("asyncemu.stall").addHandler(handler)
    context.schedule_oneshot(holds_the_loop)
    await over
    logging.getLogger("asyncemu.stall").removeHandler(handler)

    first = caplog.records[0]
    assert (first.name, first.levelno) == ("asyncemu.stall", logging.WARNING)
    culprit = "test_stall_is_logged.<locals>.holds_the_loop"
    assert first.message.startswith(f"test: {culprit} has held the loop for more than ")
