# SPDX-License-Identifier: GPL-2.0-or-later
"""Every filter, alone and on top of each other, is as good as a bytearray: any requests, offsets and scattering."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.block.formats  # noqa: F401  # makes the driver "test-layer" known
from tests.block.test_against_model import FILE, SIZE, at_once, compare, request, run

DISK: dict[str, Any] = {"driver": "memory", "size": SIZE}
LAYER: dict[str, Any] = {"driver": "test-layer", "size": SIZE}
CHAOS: dict[str, Any] = {"driver": "chaos", "reorder": True, "stall": 0.1, "stall-ns": 1000}

FILTERS: dict[str, dict[str, Any]] = {
    "throttle": {"driver": "throttle", "limits": {"iops-total": 1_000_000}, "file": DISK},
    "blkdebug": {"driver": "blkdebug", "image": DISK},
    "blkdebug, blocks of 512": {"driver": "blkdebug", "align": 512, "image": DISK},
    "blkdebug, blocks of 512 over a file": {"driver": "blkdebug", "align": 512, "image": {**FILE}},
    "blkdebug, limits": {
        "driver": "blkdebug",
        "max-transfer": 700,
        "opt-write-zero": 1024,
        "max-write-zero": 2048,
        "image": DISK,
    },
    "blkverify": {"driver": "blkverify", "raw": DISK, "test": {**DISK, "request-alignment": 512}},
    "copy-on-read": {"driver": "copy-on-read", "file": {**LAYER, "backing": LAYER}},
    "compress": {"driver": "compress", "file": LAYER},
    "preallocate": {"driver": "preallocate", "file": {**FILE}},
    "delay": {"driver": "delay", "write-ns": 1000, "jitter-ns": 10_000, "file": DISK},
    "chaos": {**CHAOS, "file": DISK},
    "chaos with a cache": {**CHAOS, "volatile-cache": True, "file": DISK},
    "chaos with a small cache over a file": {**CHAOS, "volatile-cache": True, "cache-size": 2048, "file": {**FILE}},
    "throttle over blkdebug over chaos": {
        "driver": "throttle",
        "limits": {"bps-total": 1 << 40},
        "file": {"driver": "blkdebug", "align": 512, "image": {**CHAOS, "volatile-cache": True, "file": DISK}},
    },
}


@pytest.mark.parametrize("kind", FILTERS)
@settings(max_examples=20, deadline=None)
@given(steps=st.lists(request, max_size=12))
def test_filter_any_requests_equals_bytearray(kind: str, steps: list[tuple[str, int, int, list[int]]]) -> None:
    run(compare(FILTERS[kind], steps))


@pytest.mark.parametrize("kind", FILTERS)
@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, SIZE - 1), max_size=40))
def test_filter_neighbouring_writes_at_once_all_arrive(kind: str, cuts: list[int]) -> None:
    run(at_once(FILTERS[kind], cuts))
