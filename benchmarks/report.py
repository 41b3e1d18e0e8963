# SPDX-License-Identifier: GPL-2.0-or-later
"""What is printed and what is written of a benchmark's measurements."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.goal import Goal, Measurement, Spread

_HEADINGS = ("", "unit", "ours min/median/max", "peer min/median/max", "ratio", "pairs min-max", "goal", "")


@dataclass(frozen=True, slots=True)
class Report:
    """One run of one benchmark against ``peer`` (its version), begun at ``date``."""

    benchmark: str
    peer: str
    date: datetime
    measurements: tuple[Measurement, ...]
    #: What a reader has to know of some figures: a line each.
    remarks: tuple[str, ...] = ()

    @property
    def reached(self) -> bool:
        """Are all goals reached?"""
        return all(measurement.reached for measurement in self.measurements)


def table(report: Report) -> str:
    """The report as text, with a line for each measurement."""
    rows = [_HEADINGS, *map(_row, report.measurements)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    remarks = [f"note: {remark}" for remark in report.remarks]
    return "\n".join((f"{report.benchmark}: peer is {report.peer}", *lines, *remarks))


def _row(measurement: Measurement) -> tuple[str, ...]:
    return (
        measurement.name,
        measurement.unit,
        _spread(measurement.ours),
        "" if measurement.peer is None else _spread(measurement.peer),
        "" if measurement.peer is None else f"{measurement.ratio:.2f}",
        _pairs(measurement.pair_ratios),
        _goal(measurement.goal, measurement.unit),
        "" if measurement.goal is None else "reached" if measurement.reached else "NOT REACHED",
    )


def _spread(samples: Sequence[float]) -> str:
    spread = Spread.of(samples)
    return " / ".join(f"{value:.4g}" for value in (spread.minimum, spread.median, spread.maximum))


def _pairs(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.2f}-{max(ratios):.2f}" if ratios else ""


def _goal(goal: Goal | None, unit: str) -> str:
    if goal is None:
        return ""
    return f"ours <= {goal.limit:g} {unit}" if goal.absolute else f"ratio <= {goal.limit:g}"


def document(report: Report) -> dict[str, Any]:
    """The report as what JSON can hold: every sample, and the machine it was made on."""
    return {
        "benchmark": report.benchmark,
        "peer": report.peer,
        "date": report.date.isoformat(),
        "reached": report.reached,
        "host": {
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load_average": list(os.getloadavg()),
        },
        "measurements": [_measurement(measurement) for measurement in report.measurements],
        "remarks": list(report.remarks),
    }


def _measurement(measurement: Measurement) -> dict[str, Any]:
    goal = measurement.goal
    return {
        "name": measurement.name,
        "unit": measurement.unit,
        "ours": list(measurement.ours),
        "peer": None if measurement.peer is None else list(measurement.peer),
        "ratio": _finite(measurement.ratio),
        "pair_ratios": [_finite(ratio) for ratio in measurement.pair_ratios],
        "goal": None if goal is None else {"limit": goal.limit, "of": "ours" if goal.absolute else "ratio"},
        "reached": measurement.reached,
    }


def _finite(value: float) -> float | None:
    """JSON has neither infinity nor "not a number"."""
    return value if math.isfinite(value) else None
