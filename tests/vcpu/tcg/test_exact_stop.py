# SPDX-License-Identifier: GPL-2.0-or-later
"""No instruction runs twice, and none is left out, however often and whenever a guest is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import unicorn

from asyncemu.vcpu.tcg import exact_stop, native
from asyncemu.vcpu.tcg.exact_stop import StopMethod
from tests.guests.test_stopcheck_binary import expected
from tests.vcpu.bench import BASE, Hart
from tests.vcpu.conftest import MakeHart

STOPCHECK = Path(__file__).parents[3] / "guests" / "stopcheck" / "stopcheck.bin"
REQUEST, PARKED, RESULTS = BASE + 0x1000, BASE + 0x1008, BASE + 0x1010


async def results_after_stops(hart: Hart, stops: int) -> list[int]:
    """Stop and resume ``stops`` times from this thread while the guest counts; then ask it for its counters."""
    for _ in range(stops):
        await hart.vcpu.run_on_cpu(lambda: None)
    hart.set_word(REQUEST, 1)
    await hart.until(lambda: hart.word(PARKED) == 1)
    return [hart.word(RESULTS + 8 * index) for index in range(19)]


@pytest.mark.slow
async def test_stop_10000_times_no_instruction_runs_twice(make_hart: MakeHart) -> None:
    hart = make_hart(STOPCHECK.read_bytes())

    results = await results_after_stops(hart, 12_000)

    # A request now and then finds the thread outside the guest, and is no stop.
    assert hart.vcpu.statistics()["entries"] > 10_000
    assert results[0] > 10_000
    assert results == expected(results[0])


@pytest.mark.parametrize("method", [StopMethod.BLOCK_HOOK, StopMethod.SLICES])
async def test_stop_by_fallback_method_no_instruction_runs_twice(make_hart: MakeHart, method: StopMethod) -> None:
    hart = make_hart(STOPCHECK.read_bytes(), method=method)

    results = await results_after_stops(hart, 1_000)

    assert results[0] > 1_000
    assert results == expected(results[0])


async def test_stop_without_native_helper_no_instruction_runs_twice(
    make_hart: MakeHart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCEMU_NATIVE", "0")
    hart = make_hart(STOPCHECK.read_bytes())

    results = await results_after_stops(hart, 1_000)

    assert results == expected(results[0])


def test_native_helper_was_built() -> None:
    assert native.load() is not None


def test_self_test_this_unicorn_passes() -> None:
    assert exact_stop.self_test()


def test_self_test_exit_checks_left_on_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test notices the fault that it is there for."""
    monkeypatch.setattr(exact_stop, "_SELF_TEST_STOPS", 2_000)
    monkeypatch.setattr(exact_stop, "switch_exit_checks_off", lambda handle: True)

    assert not exact_stop.self_test()


def test_best_method_other_release_is_not_the_private_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicorn, "__version__", "9.9.9")

    assert exact_stop.best_method.__wrapped__() is StopMethod.BLOCK_HOOK


def test_best_method_nothing_native_is_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_stop, "self_test", lambda: False)
    monkeypatch.setenv("ASYNCEMU_NATIVE", "0")

    assert exact_stop.best_method.__wrapped__() is StopMethod.SLICES
