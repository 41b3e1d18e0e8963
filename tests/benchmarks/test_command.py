# SPDX-License-Identifier: GPL-2.0-or-later
"""python -m benchmarks: exit status, table, JSON; with a benchmark that measures nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.benchmark import DEFAULT_RUNS, Benchmark, Outcome, interleave
from benchmarks.errors import BenchmarkError
from benchmarks.goal import Goal, Measurement


class Fake:
    """Stands in for the module boot: ``value`` is what each of its runs measures."""

    def __init__(self) -> None:
        self.value = 1.0
        self.error: BaseException | None = None
        self.runs: list[int] = []

    def load(self, name: str) -> Benchmark:
        return Benchmark(name, "does nothing", self._run)

    def _run(self, runs: int, note: Callable[[str], None]) -> Outcome:
        self.runs.append(runs)
        if self.error is not None:
            raise self.error
        note("working")
        return Outcome("nobody", (Measurement("value", "s", (self.value,), (1.0,), Goal(1.0)),))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fake:
    fake = Fake()
    monkeypatch.setattr(command, "load", fake.load)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    return fake


def test_run_with_goal_reached_is_status_0(fake: Fake) -> None:
    assert command.main(["run", "boot"]) == 0


def test_run_with_goal_missed_is_status_1(fake: Fake) -> None:
    fake.value = 1.1
    assert command.main(["run", "boot"]) == 1


def test_run_that_fails_is_status_2_and_one_line(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.error = BenchmarkError("qemu was not found: install it")
    assert command.main(["run", "boot"]) == 2
    assert capsys.readouterr().err == "benchmarks: qemu was not found: install it\n"


def test_run_interrupted_is_status_130(fake: Fake) -> None:
    fake.error = KeyboardInterrupt()
    assert command.main(["run", "boot"]) == 130


def test_run_prints_table_on_output_and_progress_on_error(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["run", "boot"])
    captured = capsys.readouterr()
    assert captured.out.startswith("boot: peer is nobody\n")
    assert captured.err == "boot: working\n"


def test_run_writes_a_result_named_after_benchmark_and_date(fake: Fake, tmp_path: Path) -> None:
    command.main(["run", "boot"])
    (path,) = (tmp_path / "results").glob("boot-*T*Z.json")
    assert json.loads(path.read_text())["measurements"][0]["ours"] == [1.0]


def test_run_with_json_writes_all_results_there_too(fake: Fake, tmp_path: Path) -> None:
    command.main(["run", "boot", "--json", str(tmp_path / "deep" / "all.json")])
    document = json.loads((tmp_path / "deep" / "all.json").read_text())
    assert [each["benchmark"] for each in document["benchmarks"]] == ["boot"]


def test_run_with_json_that_cannot_be_written_is_status_2(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["run", "boot", "--json", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(f"{tmp_path}: Is a directory\n")


def test_run_of_a_name_given_twice_runs_once(fake: Fake) -> None:
    command.main(["run", "boot", "boot"])
    assert fake.runs == [DEFAULT_RUNS]


def test_run_with_runs_passes_the_number_on(fake: Fake) -> None:
    command.main(["run", "boot", "--runs", "3"])
    assert fake.runs == [3]


@pytest.mark.parametrize("arguments", [["run"], ["run", "nosuch"], ["run", "boot", "--runs", "0"], []])
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)


def test_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["list"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == list(command.NAMES)


def test_every_benchmark_has_the_name_of_its_module() -> None:
    assert tuple(command.load(name).name for name in command.NAMES) == command.NAMES


def test_interleave_takes_turns_beginning_with_ours() -> None:
    turns: list[str] = []

    def side(name: str) -> Callable[[], int]:
        def sample() -> int:
            turns.append(name)
            return len(turns)

        return sample

    assert interleave(2, side("ours"), side("peer")) == ([1, 3], [2, 4])
    assert turns == ["ours", "peer", "ours", "peer"]
