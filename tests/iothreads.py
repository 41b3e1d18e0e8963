# SPDX-License-Identifier: GPL-2.0-or-later
"""IOThreads for tests; a folder's conftest.py imports the fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asyncemu.loop import AioContext, IOThread


@pytest.fixture
async def iothreads(context: AioContext) -> AsyncIterator[list[IOThread]]:
    """Two that run, io0 and io1; stopped after the test."""
    threads = [IOThread(context, f"io{number}") for number in range(2)]
    for thread in threads:
        await thread.start()
    yield threads
    for thread in threads:
        await thread.stop()
