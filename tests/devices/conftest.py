# SPDX-License-Identifier: GPL-2.0-or-later
"""A bench, and one with a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asyncemu.loop import AioContext, Clocks
from asyncemu.testing import DeviceBench
from asyncemu.testing.fake_clock import FakeClock
from tests.bench import bench as bench


@pytest.fixture
def time() -> FakeClock:
    """Monotonic 1 s, and 1000 s after 1970."""
    return FakeClock(1_000_000_000, 1_000_000_000_000)


@pytest.fixture
async def timed_bench(context: AioContext, time: FakeClock) -> AsyncIterator[DeviceBench]:
    """A bench whose clocks follow ``time``."""
    async with DeviceBench(context, clocks=Clocks(time)) as bench:
        yield bench
