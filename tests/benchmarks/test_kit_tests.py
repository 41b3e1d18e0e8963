# SPDX-License-Identifier: GPL-2.0-or-later
"""The generated tests of devices pass, and a failing one is no figure."""

from __future__ import annotations

import pytest

from benchmarks import kit_tests
from benchmarks.errors import BenchmarkError


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that are to be quick."""
    monkeypatch.setattr(kit_tests, "FUNCTIONS", 2)
    monkeypatch.setattr(kit_tests, "CASES", 2)


@pytest.mark.slow
def test_measure_runs_as_many_tests_as_it_says() -> None:
    assert kit_tests.measure(files=1) > 0


@pytest.mark.slow
def test_measure_of_a_failing_test_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit_tests, "_MMIO", "\n\ndef test_{number}():\n    assert {cases} == 0\n")

    with pytest.raises(BenchmarkError, match=r"kit tests: .*failed"):
        kit_tests.measure(files=1)
