# SPDX-License-Identifier: GPL-2.0-or-later
"""Tracing of the event loop: what ran on which thread, and for how long.

``tracer`` records, ``perfetto`` writes and reads files, ``summary`` says what is in them, ``stall`` watches loops while
they run. Importable from everywhere; imports nothing of ours but errors. ``perfetto`` and ``summary`` are imported by
those who need them: recording needs neither.
"""

from asyncemu.tracing.recorder import Event, Tracer, Track, tracer

__all__ = ["Event", "Tracer", "Track", "tracer"]
