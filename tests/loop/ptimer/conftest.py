# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of PTimer share: what a device sees of its counter under every policy.

The cases of QEMU's tests/unit/ptimer-test.c, and what QEMU does not test: fractions of a nanosecond, transactions,
callbacks that change the timer, hostile numbers.
"""

from __future__ import annotations

import pytest

from asyncemu.loop import AioContext
from tests.loop.ptimer.rig import DEFAULT, NO_ROUND_DOWN, POLICIES, Rig


@pytest.fixture(params=POLICIES, ids=lambda policy: policy.name or "DEFAULT")
def rig(context: AioContext, request: pytest.FixtureRequest) -> Rig:
    """Under each policy and each combination of them."""
    return Rig(context, request.param)


@pytest.fixture
def default(context: AioContext) -> Rig:
    return Rig(context, DEFAULT)


@pytest.fixture
def exact(context: AioContext) -> Rig:
    """Its counter shows what it has."""
    return Rig(context, NO_ROUND_DOWN)
