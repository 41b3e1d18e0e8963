# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark of the stack by itself, with little to do."""

from __future__ import annotations

import pytest

from benchmarks import net_stack


def test_each_row_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    work = [(function, 1) for function, _ in net_stack._WORK]
    monkeypatch.setattr(net_stack, "_WORK", work)
    for name, value in {"BULK": 1 << 20, "PACKETS": 128, "ROUND_TRIPS": 5, "CONNECTIONS": 5}.items():
        monkeypatch.setattr(net_stack, name, value)
    notes: list[str] = []

    outcome = net_stack.BENCHMARK.run(1, notes.append)

    assert [measurement.name for measurement in outcome.measurements] == [row.name for row in net_stack._ROWS]
    assert all(measurement.ours[0] > 0 for measurement in outcome.measurements)
    assert len(notes) == 1
