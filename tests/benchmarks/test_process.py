# SPDX-License-Identifier: GPL-2.0-or-later
"""The child process, and what /proc says about it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.errors import BenchmarkError
from benchmarks.process import GuestProcess, Mapping, cpu_seconds, parse_smaps, parse_stat, resident_beyond

SMAPS = """\
7f0000000000-7f0010000000 rw-s 00000000 00:01 2057                       /memfd:asyncemu-ram (deleted)
Size:             262144 kB
Rss:               66560 kB
Pss:               66560 kB
VmFlags: rd wr sh mr mw me ms sd
7f0010000000-7f0020000000 rw-p 00000000 00:00 0
Size:             262144 kB
Rss:                   8 kB
Rss_of_nothing:        9 kB
55d000000000-55d000001000 r-xp 00001000 fe:00 42                         /usr/bin/a name with spaces
Rss:                   4 kB
"""
RAM = Mapping(256 << 20, 66560 << 10, "rw-s", "/memfd:asyncemu-ram (deleted)")
ANONYMOUS = Mapping(256 << 20, 8 << 10, "rw-p", "")
CODE = Mapping(4096, 4 << 10, "r-xp", "/usr/bin/a name with spaces")


def test_parse_smaps_gives_size_resident_permissions_and_name() -> None:
    assert parse_smaps(SMAPS) == [RAM, ANONYMOUS, CODE]


def test_parse_smaps_of_this_process_finds_its_stack() -> None:
    mappings = parse_smaps(Path("/proc/self/smaps").read_text())
    assert [mapping.resident > 0 for mapping in mappings if mapping.name == "[stack]"] == [True]


@given(st.text(max_size=200))
def test_parse_smaps_of_any_text_never_raises(text: str) -> None:
    assert all(mapping.resident >= 0 for mapping in parse_smaps(text))


@given(st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(0, 1 << 20)), max_size=8))
def test_parse_smaps_inverts_formatting(sizes: list[tuple[int, int]]) -> None:
    text = "".join(f"1000-{0x1000 + pages * 4096:x} rw-p 0 00:00 0 \nRss: {rss} kB\n" for pages, rss in sizes)
    assert [(each.size // 4096, each.resident >> 10) for each in parse_smaps(text)] == sizes


def test_resident_beyond_leaves_guest_ram_out() -> None:
    assert resident_beyond([RAM, ANONYMOUS, CODE], lambda mapping: mapping is RAM) == 12 << 10


def test_resident_beyond_without_guest_ram_raises_benchmark_error() -> None:
    with pytest.raises(BenchmarkError, match="guest RAM was not found"):
        resident_beyond([ANONYMOUS], lambda mapping: False)


def test_parse_stat_with_hostile_command_name_adds_user_and_system_time() -> None:
    assert parse_stat("1 (a) b (c) S 3 4 5 6 7 8 9 10 11 12 130 7 16 17\n") == 137


def test_cpu_seconds_of_this_process_agrees_with_times() -> None:
    before = sum(os.times()[:2])
    assert before - 0.02 <= cpu_seconds(os.getpid()) <= sum(os.times()[:2]) + 0.02


def shell(script: str) -> GuestProcess:
    return GuestProcess(["/bin/sh", "-c", script], Path("/"))


def test_wait_for_text_gives_a_time_before_the_exit() -> None:
    with shell("echo asyncemu: userspace; echo bye") as process:
        seen = process.wait_for(b"userspace", 10)
        assert 0 < seen <= process.wait_for_exit(10)


def test_wait_for_text_in_pieces_finds_it() -> None:
    with shell("printf user; read -r never; printf space") as process:
        process.wait_for(b"us", 10)
        assert process._process.stdin is not None
        process._process.stdin.close()
        assert process.wait_for(b"erspace", 10) > 0


def test_wait_for_exit_keeps_all_output() -> None:
    with shell("echo one; echo two >&2") as process:
        process.wait_for_exit(10)
        assert process.output == "one\ntwo\n"


def test_wait_for_text_that_never_comes_quotes_the_last_output() -> None:
    with shell("echo Kernel panic") as process, pytest.raises(BenchmarkError, match=r"ended before.*Kernel panic"):
        process.wait_for(b"userspace", 10)


def test_wait_for_exit_with_status_raises_benchmark_error() -> None:
    with shell("exit 3") as process, pytest.raises(BenchmarkError, match="ended with status 3; its last output: none"):
        process.wait_for_exit(10)


def test_wait_for_after_timeout_raises_benchmark_error() -> None:
    with shell("read -r never") as process, pytest.raises(BenchmarkError, match=r"was not done after 0.01 s"):
        process.wait_for(b"userspace", 0.01)


def test_let_run_of_a_process_that_ends_raises_benchmark_error() -> None:
    with shell("exit 0") as process, pytest.raises(BenchmarkError, match="ended while it was to run on"):
        process.let_run(10)


def test_input_of_a_process_stays_open() -> None:
    with shell("read -r never; echo closed") as process:
        process.let_run(0.01)
        assert process.output == ""


def test_leaving_the_context_ends_the_process() -> None:
    with shell("read -r never") as process:
        pid = process.pid
    assert not Path(f"/proc/{pid}").exists()


def test_program_that_is_not_there_raises_benchmark_error() -> None:
    with pytest.raises(BenchmarkError, match="/nowhere/emulator: No such file"):
        GuestProcess(["/nowhere/emulator"], Path("/"))


def test_modules_are_compiled_once_whatever_the_caller_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    script = "import sys; print(sys.dont_write_bytecode)"
    with GuestProcess([sys.executable, "-c", script], Path("/")) as process:
        process.wait_for_exit(10)
        assert process.output == "False\n"
