# SPDX-License-Identifier: GPL-2.0-or-later
"""trace-event-get-state and trace-event-set-state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from asyncemu.tracing import tracer
from tests.monitor.commands.machine.conftest import Commander, Start


@pytest.fixture(autouse=True)
def tracing_ends() -> Iterator[None]:
    yield
    tracer.start()
    tracer.stop()


@pytest.fixture
async def vm(start: Start) -> Commander:
    return await start()


async def enabled(vm: Commander) -> list[str]:
    """The events that are recorded."""
    return [each["name"] for each in await vm("trace-event-get-state", name="*") if each["state"] == "enabled"]


async def test_events_are_off_and_have_no_vcpu(vm: Commander) -> None:
    assert await vm("trace-event-get-state", name="bh") == [{"name": "bh", "state": "disabled", "vcpu": False}]
    assert await enabled(vm) == []


async def test_set_state_of_one_records_that_one_only(vm: Commander) -> None:
    await vm("trace-event-set-state", name="timer", enable=True)
    tracer.span("timer", "rings", 0)
    tracer.span("bh", "is not asked for", 0)
    tracer.instant("stall", "neither")

    names = [event[1] for track in tracer.tracks() for event in track.events]
    assert "rings" in names
    assert {event[0] for track in tracer.tracks() for event in track.events} == {"timer"}
    assert await enabled(vm) == ["timer"]


async def test_set_state_by_pattern(vm: Commander) -> None:
    await vm("trace-event-set-state", name="ha*", enable=True)
    await vm("trace-event-set-state", name="hal?", enable=False)

    assert await enabled(vm) == ["handler"]


async def test_last_one_off_ends_the_recording(vm: Commander) -> None:
    await vm("trace-event-set-state", name="*", enable=True)
    await vm("trace-event-set-state", name="*", enable=False)

    assert not tracer.on


async def test_start_records_everything_again(vm: Commander) -> None:
    await vm("trace-event-set-state", name="bh", enable=True)

    tracer.start()

    assert tracer.records("timer")


async def test_get_state_pattern_without_match_is_empty(vm: Commander) -> None:
    assert await vm("trace-event-get-state", name="nope*") == []
    assert await vm("trace-event-get-state", name="[b]h*") == []


@pytest.mark.parametrize(
    ("arguments", "description"),
    [
        ({"name": "nope"}, 'unknown event "nope"'),
        ({"name": "bh", "vcpu": 3}, "invalid vCPU index 3"),
        ({"name": "bh", "vcpu": 0}, 'event "bh" is not vCPU-specific'),
    ],
)
async def test_event_that_is_not_there_is_refused(vm: Commander, arguments: dict[str, Any], description: str) -> None:
    assert await vm.refusal("trace-event-get-state", **arguments) == ("GenericError", description)
    assert await vm.refusal("trace-event-set-state", **arguments, enable=True) == ("GenericError", description)
