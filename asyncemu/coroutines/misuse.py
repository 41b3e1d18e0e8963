# SPDX-License-Identifier: GPL-2.0-or-later
"""CoroutineMisuse: a coroutine was entered or scheduled where it may not be. A bug of whoever did; QEMU aborts."""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from asyncemu.coroutines.place import Place, describe, place_of

if TYPE_CHECKING:
    from asyncemu.coroutines.coroutine import Coroutine


class CoroutineMisuse(RuntimeError):
    """See the module's head. The message names the place of both calls."""


def scheduled_twice(coroutine: Coroutine[Any], earlier: Place, now: Place) -> CoroutineMisuse:
    """It is scheduled already."""
    name = coroutine.get_name()
    return CoroutineMisuse(f"{name} was scheduled by {describe(earlier)}, and again by {describe(now)}")


def entered(coroutine: Coroutine[Any], now: Place) -> CoroutineMisuse:
    """It is not suspended in co_yield, or scheduled."""
    name = coroutine.get_name()
    again = f"entered by {describe(now)}"
    more = coroutine._more
    if more is not None and more.scheduled_by is not None:
        return CoroutineMisuse(f"{name} was scheduled by {describe(more.scheduled_by)}, and then {again}")
    if coroutine.done():
        return CoroutineMisuse(f"{name} has ended, and was then {again}")
    if more is not None and not coroutine.entered():
        return CoroutineMisuse(f"{name} awaits {more.waits_for!r}, and was {again}")
    outer = _who_entered(coroutine)
    return CoroutineMisuse(f"{name} was entered by {describe(outer) if outer else 'another thread'}, and again {again}")


def _who_entered(coroutine: Coroutine[Any]) -> Place | None:
    """The caller of the ``enter`` that this thread is in; found on the stack, so that entering need not note it."""
    frame: FrameType | None = sys._getframe()
    entered_by: Place | None = None
    while frame is not None:
        if (
            frame.f_code.co_name in ("enter", "_go_on", "_run")
            and frame.f_locals.get("self") is coroutine
            and frame.f_back
        ):
            entered_by = place_of(frame.f_back)
        frame = frame.f_back
    return entered_by
