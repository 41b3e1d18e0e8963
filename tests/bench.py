# SPDX-License-Identifier: GPL-2.0-or-later
"""The fixture of all device tests; a folder's conftest.py imports it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asyncemu.loop import AioContext
from asyncemu.testing import DeviceBench


@pytest.fixture
async def bench(context: AioContext) -> AsyncIterator[DeviceBench]:
    """An empty DeviceBench in the test's context."""
    async with DeviceBench(context) as bench:
        yield bench
