# SPDX-License-Identifier: GPL-2.0-or-later
"""The event model: contexts, bottom halves, timers and clocks, event notifiers, worker threads.

Imports nothing of ours but errors. See docs/event-model.md for the rules.
"""

from asyncemu.loop.bottom_half import BottomHalf
from asyncemu.loop.clock import Clock, ClockKind, Clocks, ClockSource, MonotonicSource
from asyncemu.loop.context import AioContext, current_context
from asyncemu.loop.event_notifier import EventNotifier
from asyncemu.loop.iothread import IOThread, IOThreadParameters
from asyncemu.loop.main_loop import MainLoop
from asyncemu.loop.markers import HasHome, any_thread, home, vcpu_thread
from asyncemu.loop.poll_time import PollParameters
from asyncemu.loop.polling import Pollable
from asyncemu.loop.posted import PostedQueue
from asyncemu.loop.stepped_source import SteppedSource
from asyncemu.loop.timer import Timer
from asyncemu.loop.worker_pool import WorkerPool

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
