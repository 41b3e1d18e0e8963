# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to a request: drawn from seeded random numbers, in the order in which requests come. No I/O.

Each request takes the same number of draws whatever comes out, so with one seed the requests that fail at a low
probability fail at a higher one, too.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Fault(NamedTuple):
    """What happens to one request."""

    #: It waits first.
    stalls: bool
    #: It fails with this errno; 0: it does not.
    errno: int
    #: If it is a write: it fails, and a part of it is written.
    torn: bool


class Faults:
    """Decides. ``errors`` are probabilities by kind of request, the others those of their events."""

    def __init__(
        self, rng: random.Random, errors: Mapping[str, float], errnos: Sequence[int], stall: float, torn_write: float
    ) -> None:
        self._random = rng
        self._errors = errors
        self._errnos = errnos
        self._stall = stall
        self._torn_write = torn_write

    def draw(self, kind: str) -> Fault:
        """The next request, which is of ``kind``."""
        draw = self._random.random
        stalls = draw() < self._stall
        fails = draw() < self._errors[kind]
        which = int(draw() * len(self._errnos))
        torn = draw() < self._torn_write
        return Fault(stalls, self._errnos[which] if fails else 0, torn and kind == "write")
