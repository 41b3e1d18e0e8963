# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m benchmarks run NAME [NAME ...]``: measure, print a table, write JSON.

Exit status: 0 every goal is reached, 1 one is not, 2 a benchmark could not be run, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.benchmark import DEFAULT_RUNS, Benchmark
from benchmarks.errors import BenchmarkError
from benchmarks.report import Report, document, table

REACHED: Final = 0
NOT_REACHED: Final = 1
FAILED: Final = 2
INTERRUPTED: Final = 130

#: Modules of this folder that define BENCHMARK; the module's name is the benchmark's.
NAMES: Final = ("boot", "event_model", "block", "net", "net_stack", "control")
RESULTS: Final = Path(__file__).resolve().parent / "results"


def load(name: str) -> Benchmark:
    """The benchmark of this name, one of NAMES."""
    benchmark: Benchmark = importlib.import_module(f"benchmarks.{name}").BENCHMARK
    return benchmark


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = _make_parser().parse_args(arguments)
    try:
        if options.command == "list":
            for name in NAMES:
                print(f"{name}: {load(name).summary}")
            return REACHED
        return _run(options.names, options.runs, options.json)
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure asyncemu beside its peers.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name every benchmark")
    run = commands.add_parser("run", help="run benchmarks; 0: all goals are reached, 1: not all, 2: could not be run")
    run.add_argument("names", nargs="+", choices=NAMES, metavar="NAME", help=f"of: {', '.join(NAMES)}")
    run.add_argument("--runs", type=_positive, default=DEFAULT_RUNS, metavar="N", help="pairs of a measurement")
    run.add_argument("--json", type=Path, metavar="FILE", help="write all results there too")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _run(names: Sequence[str], runs: int, json_file: Path | None) -> int:
    documents: list[dict[str, Any]] = []
    reached = True
    for name in dict.fromkeys(names):
        date = datetime.now(UTC)
        outcome = load(name).run(runs, partial(_note, name))
        report = Report(name, outcome.peer, date, outcome.measurements, outcome.remarks)
        print(table(report), flush=True)
        documents.append(document(report))
        _write(RESULTS / f"{name}-{date:%Y-%m-%dT%H%M%SZ}.json", documents[-1])
        reached = reached and report.reached
    if json_file is not None:
        _write(json_file, {"benchmarks": documents})
    return REACHED if reached else NOT_REACHED


def _note(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr, flush=True)


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise BenchmarkError(f"{path}: {error.strerror}") from error


if __name__ == "__main__":
    raise SystemExit(main())
