# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read of QEMU's test-coroutine, and what is said when it can't be built. Nothing is fetched here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import qemu_unit_tests
from benchmarks.errors import BenchmarkError
from benchmarks.qemu_unit_tests import CoroutineFigures, ensure, measure, parse_perf
from guests.errors import FetchError

OUTPUT = """\
# random seed: R02S0b710c3ec8b68f20398ac79975a31e2f
1..5
# Start of perf tests
# Lifecycle 1000000 iterations: 0.130892 s
ok 1 /perf/lifecycle
# Nesting 10000 iterations of 1000 depth each: 180.503348 s
ok 2 /perf/nesting
# Yield 100000000 iterations: 10.456590 s
ok 3 /perf/yield
# Function call 100000000 iterations: 0.216612 s
ok 4 /perf/function-call
# Run operation 40000000 iterations 7.658717 s, 5222K operations/s, 191ns per coroutine
ok 5 /perf/cost
"""


def test_parse_perf_gives_microseconds_for_each_operation() -> None:
    figures = parse_perf(OUTPUT)
    assert figures.lifecycle == pytest.approx(0.130892)
    assert figures.yield_cycle == pytest.approx(0.1045659)
    assert figures.function_call == pytest.approx(0.00216612)
    assert figures.cost == pytest.approx(0.191467925)


@pytest.mark.parametrize("figure", ["Lifecycle", "Yield", "Function call", "Run operation"])
def test_parse_perf_without_a_figure_raises_benchmark_error(figure: str) -> None:
    with pytest.raises(BenchmarkError, match="test-coroutine gave no figure for"):
        parse_perf(OUTPUT.replace(figure, "Other"))


@pytest.mark.parametrize(("old", "new"), [("Lifecycle 1000000", "Lifecycle 0"), ("0.130892", "1.2.3")])
def test_parse_perf_of_impossible_figures_raises_benchmark_error(old: str, new: str) -> None:
    with pytest.raises(BenchmarkError, match="test-coroutine gave"):
        parse_perf(OUTPUT.replace(old, new))


@given(st.text(max_size=100))
def test_parse_perf_of_any_other_text_raises_benchmark_error(text: str) -> None:
    with pytest.raises(BenchmarkError, match="gave no figure"):
        parse_perf(text)


@given(st.integers(1, 10**9), st.integers(0, 10**6))
def test_parse_perf_inverts_formatting(count: int, seconds: int) -> None:
    line = "{} {} iterations: {:f} s\n"
    lines = [line.format(name, count, seconds) for name in ("Lifecycle", "Yield", "Function call")]
    figures = parse_perf("".join(lines) + f"Run operation {count} iterations {seconds:f} s, 1K operations/s\n")
    assert figures == CoroutineFigures(*[seconds * 1e6 / count] * 4)


def program(directory: Path, script: str) -> Path:
    path = directory / "test-coroutine"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_measure_runs_the_perf_tests_but_nesting(tmp_path: Path) -> None:
    path = program(tmp_path, f"echo \"$@\" >arguments; cat <<'END'\n{OUTPUT}END")
    assert measure(path) == parse_perf(OUTPUT)
    assert (tmp_path / "arguments").read_text() == (
        "-m perf -p /perf/lifecycle -p /perf/yield -p /perf/function-call -p /perf/cost\n"
    )


def test_measure_of_a_program_that_fails_raises_benchmark_error(tmp_path: Path) -> None:
    path = program(tmp_path, "echo Bail out; exit 1")
    with pytest.raises(BenchmarkError, match="test-coroutine failed: Bail out"):
        measure(path)


def test_measure_without_the_program_raises_benchmark_error(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="No such file"):
        measure(tmp_path / "test-coroutine")


@pytest.fixture
def notes() -> list[str]:
    return []


def build_nothing(directory: Path, work: Path, note: Callable[[str], None]) -> None:
    """Stands in for the build."""
    note("building")
    for name in qemu_unit_tests.PROGRAMS:
        (directory / name).touch()
    (directory / "version").write_text("7.2+dfsg-7\n")


def test_ensure_builds_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: list[str]) -> None:
    monkeypatch.setattr(qemu_unit_tests, "_build", build_nothing)
    first, second = ensure(notes.append, tmp_path), ensure(notes.append, tmp_path)
    assert first == second
    assert (first.version, first.coroutine.name, first.aio.name) == ("7.2+dfsg-7", "test-coroutine", "test-aio")
    assert notes == ["building"]


def test_ensure_after_a_build_that_was_cut_off_builds_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: list[str]
) -> None:
    monkeypatch.setattr(qemu_unit_tests, "_build", build_nothing)
    (ensure(notes.append, tmp_path).directory / "version").unlink()
    ensure(notes.append, tmp_path)
    assert notes == ["building", "building"]


def test_ensure_that_can_not_build_raises_benchmark_error_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: list[str]
) -> None:
    def fail(directory: Path, work: Path, note: Callable[[str], None]) -> None:
        raise FetchError("ninja failed: no space")

    monkeypatch.setattr(qemu_unit_tests, "_build", fail)
    with pytest.raises(BenchmarkError, match=r"^QEMU's unit tests can't be built: ninja failed: no space$"):
        ensure(notes.append, tmp_path)


def test_ensure_with_a_cache_that_can_not_be_written_raises_benchmark_error(tmp_path: Path, notes: list[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchmarkError, match="can't be built: cannot write to the guest cache"):
        ensure(notes.append, tmp_path / "file")


def test_ensure_without_a_mirror_raises_benchmark_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: list[str]
) -> None:
    monkeypatch.setattr(qemu_unit_tests, "_step", lambda command, directory: "amd64\n")
    monkeypatch.setattr(qemu_unit_tests, "machine_sources", list)
    with pytest.raises(BenchmarkError, match="serves Debian's main component"):
        ensure(notes.append, tmp_path)


def test_step_that_fails_quotes_the_last_error(tmp_path: Path) -> None:
    script = "echo 'meson.build:1: ERROR: glib is missing'; echo 'see the log'; exit 1"
    with pytest.raises(FetchError, match=r"^sh failed: meson.build:1: ERROR: glib is missing$"):
        qemu_unit_tests._step(["/bin/sh", "-c", script], tmp_path)


def test_step_that_fails_silently_says_so(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"^sh failed: it said nothing$"):
        qemu_unit_tests._step(["/bin/sh", "-c", "exit 1"], tmp_path)
