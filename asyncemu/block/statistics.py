# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts, bytes and latencies of the requests of one BlockBackend. QEMU: BlockAcctStats, with QMP's names.

Plain integers, as each request passes here. A latency histogram has boundaries in ns that the user chooses, a bin below
each and one above all (QMP: block-latency-histogram-set).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from time import monotonic_ns
from typing import Any, Final

#: Kinds of requests, as indexes.
READ: Final = 0
WRITE: Final = 1
FLUSH: Final = 2
UNMAP: Final = 3
_KINDS: Final = ("rd", "wr", "flush", "unmap")
_KIND_OF: Final = {"read": READ, "write": WRITE, "write zeroes": WRITE, "flush": FLUSH, "discard": UNMAP}


class LatencyHistogram:
    """How many requests took how long."""

    def __init__(self, boundaries: Sequence[int]) -> None:
        """``boundaries``: ns, increasing, above 0. ValueError."""
        if not boundaries or boundaries[0] <= 0 or any(low >= high for low, high in pairwise(boundaries)):
            raise ValueError("boundaries must be positive and increase")
        self.boundaries = tuple(boundaries)
        self.bins = [0] * (len(boundaries) + 1)

    def account(self, latency_ns: int) -> None:
        """One request."""
        self.bins[bisect_right(self.boundaries, latency_ns)] += 1


class BlockStatistics:
    """Home context only."""

    def __init__(self, *, account_failed: bool = True, account_invalid: bool = True) -> None:
        """What is to be part of latencies and of the time since the last access, for QMP."""
        self.account_failed = account_failed
        self.account_invalid = account_invalid
        self.operations = [0] * len(_KINDS)
        self.bytes = [0] * len(_KINDS)
        self.total_time_ns = [0] * len(_KINDS)
        self.failed_operations = [0] * len(_KINDS)
        self.invalid_operations = [0] * len(_KINDS)
        #: The monotonic clock when the last request ended, ns; 0: none has.
        self.last_access_ns = 0
        self.histograms: list[LatencyHistogram | None] = [None] * len(_KINDS)

    def done(self, kind: int, length: int, began_ns: int) -> None:
        """A request of ``length`` bytes that began at ``began_ns`` (monotonic clock) has succeeded."""
        now = self.last_access_ns = monotonic_ns()
        self.operations[kind] += 1
        self.bytes[kind] += length
        self.total_time_ns[kind] += now - began_ns
        histogram = self.histograms[kind]
        if histogram is not None:
            histogram.account(now - began_ns)

    def failed(self, kind: int) -> None:
        """One has failed."""
        self.failed_operations[kind] += 1
        self.last_access_ns = monotonic_ns()

    def refused(self, what: str) -> None:
        """One did not begin: it is outside of the disk."""
        kind = _KIND_OF.get(what)
        if kind is not None:
            self.invalid_operations[kind] += 1

    def set_histogram(self, kind: int, boundaries: Sequence[int]) -> None:
        """Count latencies anew, or not at all where there are no ``boundaries``. ValueError, as LatencyHistogram."""
        self.histograms[kind] = LatencyHistogram(boundaries) if boundaries else None

    def as_qmp(self, highest_written: int = 0) -> dict[str, Any]:
        """QMP's BlockDeviceStats. ``highest_written``: bytes before the end of the write that reached furthest."""
        found: dict[str, Any] = {
            "wr_highest_offset": highest_written,
            "account_failed": self.account_failed,
            "account_invalid": self.account_invalid,
            # Intervals are not kept; nothing asks for them.
            "timed_stats": [],
        }
        for kind, name in enumerate(_KINDS):
            if name != "flush":
                found[f"{name}_bytes"] = self.bytes[kind]
                # Requests are never merged here.
                found[f"{name}_merged"] = 0
            found[f"{name}_operations"] = self.operations[kind]
            found[f"{name}_total_time_ns"] = self.total_time_ns[kind]
            found[f"failed_{name}_operations"] = self.failed_operations[kind]
            found[f"invalid_{name}_operations"] = self.invalid_operations[kind]
            histogram = self.histograms[kind]
            if histogram is not None:
                boundaries, bins = list(histogram.boundaries), list(histogram.bins)
                found[f"{name}_latency_histogram"] = {"boundaries": boundaries, "bins": bins}
        if self.last_access_ns:
            found["idle_time_ns"] = monotonic_ns() - self.last_access_ns
        return found
