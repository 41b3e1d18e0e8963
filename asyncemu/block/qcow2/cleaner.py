# SPDX-License-Identifier: GPL-2.0-or-later
"""CacheCleaner: what was not used for a while leaves the metadata caches. Option ``cache-clean-interval``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncemu.loop import Clock, ClockKind, MonotonicSource

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

_NANOSECONDS = 1_000_000_000


class CacheCleaner:
    """Runs in the context in which it is made, until ``stop``. ``interval``: seconds of ``clock``."""

    def __init__(self, image: Image, interval: int, clock: Clock | None = None) -> None:
        self._image = image
        self._interval = interval * _NANOSECONDS
        self._clock = clock or Clock(ClockKind.REALTIME, MonotonicSource())
        self._timer = image.context.timer(self._clock, self._clean)
        self._timer.mod(self._clock.now() + self._interval)

    def _clean(self) -> None:
        self._image.l2_cache.drop_unused()
        self._image.refcounts.cache.drop_unused()
        self._timer.mod(self._clock.now() + self._interval)

    def stop(self) -> None:
        """It does not run any more."""
        self._timer.cancel()
