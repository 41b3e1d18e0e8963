# SPDX-License-Identifier: GPL-2.0-or-later
"""The table and the JSON of a report."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

from benchmarks.goal import Goal, Measurement
from benchmarks.report import Report, document, table

FAST = Measurement("power-off", "s", (1.0, 2.0, 3.0), (4.0, 4.0, 4.0), Goal(0.9))
SLOW = Measurement("read", "us", (500.0,), (250.0,), Goal(1.2))
IDLE = Measurement("idle CPU", "%", (2.5,), (1.25,), Goal(5.0, absolute=True))
ALONE = Measurement("alone", "us", (0.4,), None, Goal(0.5, absolute=True))
SHOWN = Measurement("p99", "us", (8.0,), (2.0,))


def report(*measurements: Measurement) -> Report:
    return Report("boot", "QEMU 7.2", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC), measurements)


def line(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(name)).split("  ")


def test_table_names_benchmark_and_peer_first() -> None:
    assert table(report(FAST)).splitlines()[0] == "boot: peer is QEMU 7.2"


def test_table_shows_spread_ratio_pairs_and_goal_reached() -> None:
    cells = [cell.strip() for cell in line(table(report(FAST, SLOW)), "power-off") if cell]
    assert cells == ["power-off", "s", "1 / 2 / 3", "4 / 4 / 4", "0.50", "0.25-0.75", "ratio <= 0.9", "reached"]


def test_table_shows_goal_not_reached() -> None:
    assert line(table(report(FAST, SLOW)), "read")[-1] == "NOT REACHED"


def test_table_shows_absolute_goal_with_its_unit() -> None:
    assert "ours <= 5 %" in table(report(IDLE))


def test_table_shows_no_verdict_without_goal() -> None:
    assert line(table(report(SHOWN)), "p99")[-1].strip() == "4.00-4.00"


def test_table_of_a_measurement_without_peer_leaves_its_cells_empty() -> None:
    cells = [cell.strip() for cell in line(table(report(ALONE)), "alone") if cell]
    assert cells == ["alone", "us", "0.4 / 0.4 / 0.4", "ours <= 0.5 us", "reached"]


def test_table_ends_with_the_remarks() -> None:
    noted = dataclasses.replace(report(FAST), remarks=("one figure is old", "another one is not"))
    assert table(noted).splitlines()[-2:] == ["note: one figure is old", "note: another one is not"]


def test_table_lines_of_different_widths_are_aligned() -> None:
    lines = table(report(FAST, SLOW)).splitlines()[1:]
    assert len({text.index(unit) for text, unit in zip(lines, ("unit", "s ", "us"), strict=True)}) == 1


def test_report_with_a_goal_not_reached_is_not_reached() -> None:
    assert not report(FAST, SLOW).reached


def test_report_with_all_goals_reached_is_reached() -> None:
    assert report(FAST, IDLE, SHOWN).reached


def test_document_keeps_every_sample_through_json() -> None:
    read = json.loads(json.dumps(document(report(FAST))))["measurements"][0]
    assert (read["ours"], read["peer"], read["ratio"]) == ([1.0, 2.0, 3.0], [4.0, 4.0, 4.0], 0.5)


def test_document_says_what_the_goal_is_of() -> None:
    goals = [each["goal"] for each in document(report(FAST, IDLE, SHOWN))["measurements"]]
    assert goals == [{"limit": 0.9, "of": "ratio"}, {"limit": 5.0, "of": "ours"}, None]


def test_document_has_date_peer_and_verdict() -> None:
    made = document(report(SLOW))
    assert (made["date"], made["peer"], made["reached"]) == ("2024-05-06T07:08:09+00:00", "QEMU 7.2", False)


def test_document_of_a_measurement_without_peer_is_strict_json() -> None:
    made = json.loads(json.dumps(document(report(ALONE)), allow_nan=False))["measurements"][0]
    assert (made["peer"], made["ratio"], made["pair_ratios"]) == (None, None, [])


def test_document_has_the_remarks() -> None:
    assert document(dataclasses.replace(report(FAST), remarks=("old",)))["remarks"] == ["old"]


def test_document_with_infinite_ratio_is_strict_json() -> None:
    made = document(report(Measurement("idle", "%", (1.0,), (0.0,))))
    assert '"ratio": null' in json.dumps(made, allow_nan=False)
