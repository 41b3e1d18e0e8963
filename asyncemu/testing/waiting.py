# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for what no event announces: the inside of a device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

#: Seconds after which what is waited for counts as never coming.
GUARD: Final = 10.0


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until ``condition()`` holds; TimeoutError after GUARD seconds."""
    async with asyncio.timeout(GUARD):
        # A turn of the loop at a time: the conditions are plain attributes, which tell nobody when they change.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
