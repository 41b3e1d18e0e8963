# SPDX-License-Identifier: GPL-2.0-or-later
"""A link with filters between two wires, and a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncemu.loop import AioContext, Clocks
from asyncemu.net import NetFilter, connect, place
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.memory_wire import Wire

US = 1000


class Link:
    """``netdev`` and ``guest`` are its ends."""

    def __init__(self, context: AioContext) -> None:
        self.context = context
        self.time = FakeClock()
        self.clocks = Clocks(self.time)
        self.clocks.run_virtual(True)
        self.netdev = Wire(context, "netdev")
        self.guest = Wire(context, "guest")
        self.filters: list[NetFilter[Any]] = []
        connect(self.netdev, self.guest)

    async def add(self, kind: type[NetFilter[Any]], chardevs: dict[str, Any] | None = None, **options: Any) -> Any:
        """Put a filter behind the others; ``chardevs`` by the options that name them."""
        for name, chardev in (chardevs or {}).items():
            options[name] = chardev.id
        values = kind.options_type.model_validate({"netdev": "netdev", **options})  # type: ignore[attr-defined]
        netfilter = kind(values, f"f{len(self.filters)}", self.context, self.clocks.virtual)
        for name, chardev in (chardevs or {}).items():
            setattr(netfilter, name, chardev)
        await netfilter.open()
        self.filters.append(netfilter)
        place(self.netdev, self.filters)
        return netfilter

    def set_status(self, netfilter: NetFilter[Any], on: bool) -> None:
        """As the machine does it."""
        netfilter.enabled = on
        netfilter.status_changed()
        place(self.netdev, self.filters)


@pytest.fixture
async def link(context: AioContext) -> AsyncIterator[Link]:
    link = Link(context)
    yield link
    place(link.netdev, [])
    for netfilter in link.filters:
        await netfilter.close()
