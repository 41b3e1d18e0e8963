# SPDX-License-Identifier: GPL-2.0-or-later
"""The event model: contexts, bottom halves, timers and clocks, event notifiers, worker threads.

Imports nothing of ours but errors. See docs/event-model.md for the rules.
What a disk image tool, which is to start fast, has no use for is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from asyncemu.loop.bottom_half import BottomHalf
from asyncemu.loop.clock import Clock, ClockKind, Clocks, ClockSource, MonotonicSource
from asyncemu.loop.context import AioContext, current_context
from asyncemu.loop.event_notifier import EventNotifier
from asyncemu.loop.markers import HasHome, any_thread, home, vcpu_thread
from asyncemu.loop.timer import Timer
from asyncemu.loop.worker_pool import WorkerPool

if TYPE_CHECKING:
    from asyncemu.loop.iothread import IOThread, IOThreadParameters
    from asyncemu.loop.main_loop import MainLoop
    from asyncemu.loop.poll_time import PollParameters
    from asyncemu.loop.polling import Pollable
    from asyncemu.loop.posted import PostedQueue
    from asyncemu.loop.stepped_source import SteppedSource

__all__ = [
    "AioContext",
    "BottomHalf",
    "Clock",
    "ClockKind",
    "ClockSource",
    "Clocks",
    "EventNotifier",
    "HasHome",
    "IOThread",
    "IOThreadParameters",
    "MainLoop",
    "MonotonicSource",
    "PollParameters",
    "Pollable",
    "PostedQueue",
    "SteppedSource",
    "Timer",
    "WorkerPool",
    "any_thread",
    "current_context",
    "home",
    "vcpu_thread",
]

#: Name and module of what is imported late.
_LATE: Final = {
    "IOThread": "iothread",
    "IOThreadParameters": "iothread",
    "MainLoop": "main_loop",
    "PollParameters": "poll_time",
    "Pollable": "polling",
    "PostedQueue": "posted",
    "SteppedSource": "stepped_source",
}


def __getattr__(name: str) -> object:
    """PEP 562."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
    globals()[name] = found
    return found
