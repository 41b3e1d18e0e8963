# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixture: make harts, and end them whatever the test does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from asyncemu.loop import AioContext
from tests.vcpu.bench import Hart, assemble

MakeHart = Callable[..., Hart]


@pytest.fixture
async def make_hart(context: AioContext) -> AsyncIterator[MakeHart]:
    """``make_hart(source, **options)``: a Hart that runs assembly source or bytes; ``run=False``: not yet."""
    harts: list[Hart] = []

    def make(program: str | bytes, *, run: bool = True, **options: Any) -> Hart:
        hart = Hart(context, assemble(program) if isinstance(program, str) else program, **options)
        harts.append(hart)
        if run:
            hart.run()
        return hart

    yield make
    for hart in harts:
        await hart.close()
