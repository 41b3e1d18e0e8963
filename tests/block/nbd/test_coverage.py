# SPDX-License-Identifier: GPL-2.0-or-later
"""Which bytes of a read have come, against a set of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block.nbd.coverage import MAX_RANGES, Coverage

ranges = st.tuples(st.integers(0, 30), st.integers(1, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(deadline=None)
@given(st.lists(ranges, max_size=12))
def test_add_counts_bytes_and_refuses_overlaps(pieces: list[tuple[int, int]]) -> None:
    coverage, model = Coverage(), set[int]()
    for start, end in pieces:
        piece = set(range(start, end))
        if model & piece:
            with pytest.raises(ValueError, match=r"overlap"):
                coverage.add(start, end)
        else:
            coverage.add(start, end)
            model |= piece
        assert coverage.nbytes == len(model)


def test_add_more_gaps_than_allowed_is_refused() -> None:
    coverage = Coverage()
    for index in range(MAX_RANGES):
        coverage.add(2 * index, 2 * index + 1)
    with pytest.raises(ValueError, match=r"^more than 16384 pieces$"):
        coverage.add(2 * MAX_RANGES, 2 * MAX_RANGES + 1)
