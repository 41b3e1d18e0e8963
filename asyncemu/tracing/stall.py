# SPDX-License-Identifier: GPL-2.0-or-later
"""StallDetector: a thread that watches loops and names the callback that holds one.

How. Every CHECKS-th part of the threshold the watchdog asks each loop to answer: it has a callback scheduled there.
When the answer takes longer than the threshold, it looks at the stack of the loop's thread, reports who is on it, and
reports again when the answer has come.

What is promised. A loop that is held for less than the threshold is never reported. One that is held for the threshold
and two CHECKS-th parts of it is reported while it is held, and once more when that is over; in between, it depends on
when the question was asked. A callback in C that keeps the GIL keeps the watchdog too: the report of its end is then
the only one, and does not say who it was. Threads that leave the loop no GIL, and many short callbacks in one round,
hold it as well as a long callback does; the report says "the loop itself" when it finds nobody in the act.

What it costs. Nobody spins. A loop that is idle is woken CHECKS times in each threshold, and so is the watchdog: at a
threshold of 100 ms 40 times a second, 1 % of a CPU for both (measured in a virtual machine, where waking a thread up
costs 0.1 ms; half of it is the watchdog's own). Callbacks pay nothing.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns
from types import FrameType
from typing import Final

from asyncemu.tracing.categories import STALL
from asyncemu.tracing.recorder import tracer

#: Questions in the time of a threshold.
CHECKS: Final = 4

#: Who is named when nobody is in the act, and when the watchdog could not look.
NOBODY: Final = "the loop itself"
UNSEEN: Final = "a callback that kept the GIL"

_OURS: Final = Path(__file__).parent.parent
#: What runs callbacks rather than being one: folders whose files are passed over on the way in.
_MACHINERY: Final = (f"{_OURS / 'loop'}/", f"{_OURS / 'coroutines'}/", f"{Path(asyncio.__file__).parent}/")
#: All of uvloop that is Python.
_UVLOOP: Final = "/uvloop/__init__.py"


@dataclass(frozen=True, slots=True)
class Stall:
    """A loop that does not get on. ``str`` is a line for the user."""

    loop: str
    #: The qualified name of the function that the loop called.
    callback: str
    #: Where it was when the watchdog looked: ``file:line function``; empty when it could not.
    place: str
    #: How long the loop had not answered at the time of the report; when ``ended``, in all.
    duration_ns: int
    ended: bool

    def __str__(self) -> str:
        held = "held the loop for" if self.ended else "has held the loop for more than"
        where = f", at {self.place}" if self.place else ""
        return f"{self.loop}: {self.callback} {held} {self.duration_ns // 1_000_000} ms{where}"


class _Watched:
    """A loop, and the question it was asked last."""

    def __init__(self, name: str, thread_ident: int, ping: Callable[[Callable[[], None]], None]) -> None:
        self.name = name
        self.thread_ident = thread_ident
        self.ping = ping
        #: When the question that is open was asked, and answered; ns.
        self.asked: int | None = None
        self.answered: int | None = None
        #: What has been reported and is not over.
        self.stall: Stall | None = None


class StallDetector:
    """Watches loops from a thread of its own, between ``start`` and ``close``.

    ``report`` is called in that thread. ``check`` is what the thread does again and again; with ``clock`` (ns) and
    ``frames`` (the stacks of all threads) it does not depend on time or threads.
    """

    def __init__(
        self,
        threshold_ns: int,
        report: Callable[[Stall], None],
        *,
        clock: Callable[[], int] = monotonic_ns,
        frames: Callable[[], Mapping[int, FrameType]] = sys._current_frames,
    ) -> None:
        self.threshold_ns = threshold_ns
        self._report = report
        self._clock = clock
        self._frames = frames
        self._watched: dict[str, _Watched] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._main, name="stall detector", daemon=True)

    # ---- any thread

    def watch(self, name: str, thread_ident: int, ping: Callable[[Callable[[], None]], None]) -> None:
        """Watch the loop that runs in the thread ``thread_ident`` (threading.get_ident).

        ``ping(callback)`` is called from the watchdog's thread and has the loop call ``callback`` soon; it must not
        raise, also when the loop has ended. A name that is watched already stands for the new loop from now on.
        """
        self._watched[name] = _Watched(name, thread_ident, ping)

    def unwatch(self, name: str) -> None:
        """Leave the loop called ``name`` alone: it is about to end. A question may be on its way."""
        self._watched.pop(name, None)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; returns when it has ended. Not from ``report``."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    # ---- the watchdog's thread

    def _main(self) -> None:
        while not self._closing.wait(self.threshold_ns / CHECKS / 1e9):
            self.check()

    def check(self) -> None:
        """Look once at each loop."""
        for watched in list(self._watched.values()):
            self._check(watched)

    def _check(self, watched: _Watched) -> None:
        now = self._clock()
        if watched.asked is None:
            self._ask(watched, now)
        elif watched.answered is not None:
            waited = watched.answered - watched.asked
            if watched.stall is not None:
                self._tell(Stall(watched.name, watched.stall.callback, watched.stall.place, waited, ended=True))
            elif waited > self.threshold_ns:
                self._tell(Stall(watched.name, UNSEEN, "", waited, ended=True))
            self._ask(watched, now)
        elif watched.stall is None and now - watched.asked > self.threshold_ns:
            callback, place = self._who(watched.thread_ident)
            watched.stall = Stall(watched.name, callback, place, now - watched.asked, ended=False)
            self._tell(watched.stall)

    def _ask(self, watched: _Watched, now: int) -> None:
        watched.asked, watched.answered, watched.stall = now, None, None

        def answer() -> None:
            watched.answered = self._clock()

        # What traces and statistics of the loop call it.
        answer.__qualname__ = "StallDetector.answer"
        watched.ping(answer)

    def _who(self, thread_ident: int) -> tuple[str, str]:
        frame = self._frames().get(thread_ident)
        return name_culprit(frame) if frame is not None else (NOBODY, "")

    def _tell(self, stall: Stall) -> None:
        if tracer.on:
            tracer.instant(STALL, str(stall))
        self._report(stall)


def name_culprit(innermost: FrameType) -> tuple[str, str]:
    """Whom the loop has called, and ``file:line function`` of ``innermost``, a frame of the thread that runs it.

    From the outermost frame inwards: past what leads to the loop, past the machinery with which the loop and we call
    callbacks, to the first frame of somebody else.
    """
    stack: list[FrameType] = []
    frame: FrameType | None = innermost
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    code = innermost.f_code
    place = f"{code.co_filename}:{innermost.f_lineno} {code.co_qualname}"
    in_loop = False
    for frame in reversed(stack):
        if _is_machinery(frame):
            in_loop = True
        elif in_loop:
            return frame.f_code.co_qualname, place
    return NOBODY, place


def _is_machinery(frame: FrameType) -> bool:
    filename = frame.f_code.co_filename
    return filename.startswith(_MACHINERY) or filename.endswith(_UVLOOP)
