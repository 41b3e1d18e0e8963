# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of the block layer: the members that qemu-system-riscv64 7.2 sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asyncemu.block.events import EventObserver
from asyncemu.block.observer import BlockObserver
from asyncemu.events import EventBus
from asyncemu.loop import AioContext

CALLS: dict[str, tuple[Callable[[BlockObserver], None], dict[str, Any]]] = {
    "BLOCK_IO_ERROR": (
        lambda observer: observer.io_error(
            "d0", is_read=False, action="stop", no_space=True, reason="No space left on device"
        ),
        {
            "device": "",
            "node-name": "d0",
            "operation": "write",
            "action": "stop",
            "nospace": True,
            "reason": "No space left on device",
        },
    ),
    "BLOCK_IMAGE_CORRUPTED": (
        lambda observer: observer.image_corrupted("c", "Preventing", offset=65536, size=4096, fatal=True),
        {"device": "", "node-name": "c", "msg": "Preventing", "offset": 65536, "size": 4096, "fatal": True},
    ),
    "BLOCK_WRITE_THRESHOLD": (
        lambda observer: observer.write_threshold("q", amount_exceeded=4096, threshold=8192),
        {"node-name": "q", "amount-exceeded": 4096, "write-threshold": 8192},
    ),
    "BLOCK_EXPORT_DELETED": (lambda observer: observer.export_deleted("e0"), {"id": "e0"}),
}


@pytest.mark.parametrize("name", CALLS)
async def test_observer_emits_the_event_with_its_members(context: AioContext, name: str) -> None:
    call, members = CALLS[name]
    bus = EventBus(context)
    told: list[tuple[str, dict[str, Any]]] = []
    bus.subscribe(lambda occurrence: told.append((occurrence.event.wire_name, occurrence.event.to_wire())))
    call(EventObserver(bus))
    assert told == [(name, members)]


async def test_damage_without_a_place_has_none(context: AioContext) -> None:
    bus = EventBus(context)
    told: list[dict[str, Any]] = []
    bus.subscribe(lambda occurrence: told.append(occurrence.event.to_wire()))
    EventObserver(bus).image_corrupted("c", "what", offset=None, size=None, fatal=False)
    assert told == [{"device": "", "node-name": "c", "msg": "what", "fatal": False}]
