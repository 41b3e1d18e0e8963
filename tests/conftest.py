# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share: run-context assertions on, an AioContext on the test's own loop (asyncio and uvloop)."""

from __future__ import annotations

import os

# Before asyncemu is imported: the markers decide at import whether they assert.
os.environ.setdefault("ASYNCEMU_DEBUG", "1")

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvloop
from hypothesis import settings

from asyncemu.loop import AioContext
from asyncemu.loop.markers import enter_vcpu_thread, leave_vcpu_thread, violations

# No test is timed: the machine may be busy with something else.
settings.register_profile("asyncemu", deadline=None)
settings.load_profile("asyncemu")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """Every async test runs on uvloop, which the product uses; those marked ``both_loops`` on asyncio too."""
    factories: dict[str, Callable[[], Any]] = {"uvloop": uvloop.new_event_loop}
    if item.get_closest_marker("both_loops") is not None:
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """A test that is not interested in what is logged may say so; the next one may be."""
    logger = logging.getLogger("asyncemu")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def no_violations(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test when a method was called from a thread that its marker does not allow, also if nobody has seen it.

    One that a thread commits after its test counts for the next.
    """
    yield
    found = list(violations)
    violations.clear()
    if "expected_violations" not in request.fixturenames:
        assert found == []


@pytest.fixture
def expected_violations() -> list[str]:
    """For a test that calls from the wrong thread on purpose: what was found."""
    return violations


@pytest.fixture
async def context() -> AsyncIterator[AioContext]:
    """A context whose home is the test's thread."""
    context = AioContext(asyncio.get_running_loop(), "test")
    yield context
    context.close()


@pytest.fixture
def as_vcpu_thread() -> Iterator[None]:
    """The test's thread counts as a vCPU thread."""
    enter_vcpu_thread()
    yield
    leave_vcpu_thread()
