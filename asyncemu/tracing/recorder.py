# SPDX-License-Identifier: GPL-2.0-or-later
"""Tracer: records what ran on which thread and for how long, in a ring a thread.

How it is used where it matters::

    if tracer.on:
        start = monotonic_ns()
        callback()
        tracer.span("bh", name, start)
    else:
        callback()

What it costs: off, one attribute test (some 10 ns); on, the whole of it takes 0.4 µs, of which 0.15 µs are the two
readings of the clock, and an event takes 160 bytes.

Guarantees and assumptions:

- Threads share nothing while they record: each appends to a ring of its own. No lock is taken but at a thread's first
  event of a recording.
- A recording is one object. ``start`` replaces it as a whole, so an event that another thread is about to record at
  that moment goes either to the old one, and is gone with it, or to the new one.
- Spans are recorded when they end, so within a thread the inner one comes before the outer one. Those of one thread
  nest; nothing here checks it (what writes a file sorts).
- A thread that began a span when tracing was off, or before ``start``, records nothing of it or all of it: the caller
  looks at ``on`` once, and has the start from then.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from time import monotonic_ns
from typing import Final, NamedTuple

from asyncemu.tracing.categories import ALL

#: category, name, start and end in ns of CLOCK_MONOTONIC; the end of an instant is INSTANT.
Event = tuple[str, str, int, int]

#: In the place of an end: the event has no length.
INSTANT: Final = -1

#: Events that a thread's ring holds: 40 MB for a thread that fills it. A loop under full load makes some 50,000 events
#: a second, so it holds the last five seconds of one, and a whole boot of most guests.
CAPACITY: Final = 1 << 18

#: Rings of one recording. More threads than that do not live at once (the worker pool has 64 at most); those that have
#: ended make room.
MAX_RINGS: Final = 256


class Track(NamedTuple):
    """What one thread did, as it was recorded: spans in the order of their ends."""

    #: The thread's name, and the kernel's number of it (0: not known).
    name: str
    thread_id: int
    events: tuple[Event, ...]
    #: How many older events the ring had no room for.
    dropped: int = 0


class _Ring:
    """The events of one thread; written by that thread alone."""

    __slots__ = ("events", "name", "recorded", "thread")

    def __init__(self, thread: threading.Thread, name: str, capacity: int) -> None:
        self.thread = thread
        self.name = name
        self.events: deque[Event] = deque(maxlen=capacity)
        #: Also those that have fallen out.
        self.recorded = 0


class _Recording:
    """From one ``start`` to the next."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.local = threading.local()
        self.rings: list[_Ring] = []
        self.lock = threading.Lock()

    def new_ring(self, name: str) -> _Ring:
        """The calling thread's ring, at its first event.

        A thread that has ended leaves its ring to the next one of that name: workers come and go under the same names,
        and are one track.
        """
        thread = threading.current_thread()
        with self.lock:
            ended = [ring for ring in self.rings if not ring.thread.is_alive()]
            ring = next((ring for ring in ended if ring.name == name), None)
            if ring is None:
                if ended and len(self.rings) >= MAX_RINGS:
                    self.rings.remove(ended[0])
                ring = _Ring(thread, name, self.capacity)
                self.rings.append(ring)
            ring.thread = thread
        self.local.ring = ring
        return ring


class Tracer:
    """Everything but ``on`` and the threads' own events is for any thread. There is one, ``tracer``."""

    __slots__ = ("_muted", "_names", "_recording", "on")

    def __init__(self) -> None:
        #: Is recorded? May be set by hand, to leave something out of a recording.
        self.on = False
        #: Categories that are left out.
        self._muted: frozenset[str] = frozenset()
        self._recording = _Recording(CAPACITY)
        self._names = threading.local()

    # ---- where things happen: the calling thread's ring

    def span(self, category: str, name: str, start_ns: int) -> None:
        """What began at ``start_ns`` of time.monotonic_ns ends now. To be called when ``on`` only."""
        if category in self._muted:
            return
        recording = self._recording
        try:
            ring: _Ring = recording.local.ring
        except AttributeError:
            ring = recording.new_ring(self._thread_name())
        ring.events.append((category, name, start_ns, monotonic_ns()))
        ring.recorded += 1

    def instant(self, category: str, name: str) -> None:
        """Something happens now, and takes no time. To be called when ``on`` only."""
        if category in self._muted:
            return
        recording = self._recording
        try:
            ring: _Ring = recording.local.ring
        except AttributeError:
            ring = recording.new_ring(self._thread_name())
        ring.events.append((category, name, monotonic_ns(), INSTANT))
        ring.recorded += 1

    def name_thread(self, name: str) -> None:
        """Call the calling thread's track ``name`` from now on, in place of the thread's own name."""
        self._names.name = name
        ring: _Ring | None = getattr(self._recording.local, "ring", None)
        if ring is not None:
            ring.name = name

    def _thread_name(self) -> str:
        name: str = getattr(self._names, "name", "") or threading.current_thread().name
        return name

    # ---- whoever wants a recording

    def start(self, capacity: int = CAPACITY) -> None:
        """Record all from now on, up to ``capacity`` events a thread; what was recorded before is forgotten."""
        if capacity < 1:
            raise ValueError(f"a ring of {capacity} events holds nothing")
        self._muted = frozenset()
        self._recording = _Recording(capacity)
        self.on = True

    def records(self, category: str) -> bool:
        """Are events of this category recorded now?"""
        return self.on and category not in self._muted

    def select(self, categories: Iterable[str]) -> None:
        """Record these categories from now on and no others; none: stop. A recording begins if there is none."""
        wanted = frozenset(categories)
        if not wanted:
            self.stop()
            return
        if not self.on:
            self.start()
        self._muted = ALL - wanted

    def stop(self) -> None:
        """Record no more. What was recorded stays, for ``tracks``."""
        self.on = False

    def tracks(self) -> list[Track]:
        """What has been recorded so far, a track a thread in the order of their first events. Also while it goes on."""
        recording = self._recording
        with recording.lock:
            rings = list(recording.rings)
        tracks = []
        for ring in rings:
            # Before the events: each of these is among them, or has been dropped; some that came since may be too.
            recorded = ring.recorded
            # The copy is one step under the GIL: copying a deque's references allocates nothing that the garbage
            # collector counts. Making a tuple of the ring itself can start a collection, whose finalizers let the
            # ring's thread in.
            events = tuple(ring.events.copy())
            dropped = max(recorded - len(events), 0)
            tracks.append(Track(ring.name, ring.thread.native_id or 0, events, dropped))
        return tracks


tracer: Final = Tracer()
