# SPDX-License-Identifier: GPL-2.0-or-later
"""Zeroes and differences in buffers, against the plain way to look for them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from asyncemu.cli.img.sectors import data_runs, differing_runs, first_difference, first_nonzero, is_zero

SECTOR = 512

#: Buffers as a byte for each sector: mostly zeroes.
_SECTORS = st.lists(st.sampled_from([0, 0, 0, 1]), max_size=300)


def buffer(sectors: list[int], at: int = 7) -> memoryview:
    """A byte that is not zero somewhere in some sectors."""
    data = bytearray(len(sectors) * SECTOR)
    for index, value in enumerate(sectors):
        data[index * SECTOR + at] = value
    return memoryview(data)


@given(sectors=_SECTORS)
def test_first_nonzero_is_the_first_sector_with_data(sectors: list[int]) -> None:
    expected = next((index * SECTOR for index, value in enumerate(sectors) if value), None)
    assert first_nonzero(buffer(sectors)) == expected
    assert is_zero(buffer(sectors)) is (expected is None)


@given(one=_SECTORS, other=_SECTORS)
def test_differing_runs_are_those_of_single_sectors(one: list[int], other: list[int]) -> None:
    length = min(len(one), len(other))
    views = buffer(one[:length]), buffer(other[:length])
    found = [differs for differs, run in differing_runs(*views) for _ in range(run // SECTOR)]
    assert found == [one[index] != other[index] for index in range(length)]
    first = next((index * SECTOR for index, differs in enumerate(found) if differs), None)
    assert first_difference(*views) == first


@given(
    sectors=_SECTORS,
    start=st.integers(0, 20),
    block=st.sampled_from([1, 2, 8]),
    shortest=st.sampled_from([1, 6, 8, 16]),
)
def test_data_runs_have_all_data_and_no_long_zeroes(sectors: list[int], start: int, block: int, shortest: int) -> None:
    view = buffer(sectors)
    runs = data_runs(view, start * SECTOR, block * SECTOR, shortest * SECTOR)
    assert sum(length for _, length in runs) == len(view)
    assert all(one[0] is not other[0] for one, other in pairwise(runs))
    at = 0
    for index, (is_data, length) in enumerate(runs):
        part = view[at : at + length]
        if is_data:
            # Zeroes at an end of it are of a block that has data.
            assert first_nonzero(part) is not None
        else:
            assert is_zero(part)
            between_data = 0 < index < len(runs) - 1
            assert not between_data or length >= shortest * SECTOR
        at += length
        assert (start * SECTOR + at) % (block * SECTOR) == 0 or at == len(view)


def test_odd_bytes_at_the_end_count() -> None:
    assert not is_zero(memoryview(bytes(700) + b"x"))
    assert first_nonzero(memoryview(bytes(70_000) + b"x")) == 69_632
