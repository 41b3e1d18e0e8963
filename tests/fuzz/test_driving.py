# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a target's coroutine leaves behind is a defect; errors of an image are none."""

from __future__ import annotations

import asyncio
import errno

import pytest

from asyncemu.coroutines import start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext
from fuzz import driving
from fuzz.driving import Defect, drive, image_errors


async def fail() -> None:
    raise ZeroDivisionError


def test_drive_raises_what_is_raised() -> None:
    async def main(context: AioContext) -> None:
        await fail()

    with pytest.raises(ZeroDivisionError):
        drive(main)


def test_drive_background_failure_is_a_defect() -> None:
    async def main(context: AioContext) -> None:
        context.schedule_oneshot(lambda: 1 // 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with pytest.raises(Defect, match="background work failed: ZeroDivisionError"):
        drive(main)


def test_drive_coroutine_that_fails_is_a_defect() -> None:
    async def main(context: AioContext) -> None:
        start(context, fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with pytest.raises(Defect, match="background work failed: ZeroDivisionError"):
        drive(main)


def test_drive_task_left_behind_is_a_defect() -> None:
    left = []

    async def main(context: AioContext) -> None:
        left.append(asyncio.ensure_future(asyncio.Event().wait()))

    with pytest.raises(Defect, match=r"left behind: .*Event\.wait"):
        drive(main)


def test_drive_hang_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "HANG_SECONDS", 0.0)

    async def main(context: AioContext) -> None:
        with image_errors():
            await asyncio.Event().wait()

    with pytest.raises(Defect, match="nothing has ended"):
        drive(main)


def test_drive_after_a_defect_runs_again() -> None:
    async def bad(context: AioContext) -> None:
        await fail()

    ran = []

    async def good(context: AioContext) -> None:
        ran.append(context.loop.time())

    with pytest.raises(ZeroDivisionError):
        drive(bad)
    drive(good)

    assert ran


@pytest.mark.parametrize(
    "error",
    [ConfigError("a", "b"), BlockError("a", errno.EIO), OSError(errno.EIO, "x"), ExceptionGroup("g", [OSError()])],
)
def test_image_errors_are_forgotten(error: Exception) -> None:
    with image_errors():
        raise error


def test_image_errors_lets_others_through() -> None:
    with pytest.raises(ExceptionGroup), image_errors():
        raise ExceptionGroup("g", [OSError(), ZeroDivisionError()])
    with pytest.raises(KeyError), image_errors():
        raise KeyError
