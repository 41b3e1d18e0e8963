# SPDX-License-Identifier: GPL-2.0-or-later
"""OffsetIndex: does a range touch one of many clusters?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.qcow2.overlap import OffsetIndex

CLUSTER = 512
clusters = st.lists(st.integers(0, 40), max_size=20)


@given(clusters, st.integers(0, 41 * CLUSTER), st.integers(1, 3 * CLUSTER))
def test_offset_index_hits_what_a_set_has(numbers: list[int], start: int, length: int) -> None:
    index = OffsetIndex(CLUSTER, (number * CLUSTER for number in numbers))
    covered = {byte for number in numbers for byte in range(number * CLUSTER, (number + 1) * CLUSTER)}

    assert index.hits(start, start + length) == any(byte in covered for byte in range(start, start + length))


@given(clusters, clusters, clusters)
def test_offset_index_follows_what_is_added_and_removed(
    numbers: list[int], added: list[int], removed: list[int]
) -> None:
    index = OffsetIndex(CLUSTER, (number * CLUSTER for number in numbers))
    model = [*numbers, *added]
    for number in added:
        index.add(number * CLUSTER)
    for number in removed:
        index.remove(number * CLUSTER)
        if number in model:
            model.remove(number)

    assert [index.hits(number * CLUSTER, (number + 1) * CLUSTER) for number in range(41)] == [
        number in model for number in range(41)
    ]
