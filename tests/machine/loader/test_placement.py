# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things go in guest RAM."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.errors import ConfigError
from asyncemu.machine.loader import place
from asyncemu.machine.loader.placement import Segment, mib

from .builders import MIB

addresses = st.integers(0, 2**56)


@given(addresses, addresses, st.integers(0, 40).map(lambda shift: 1 << shift))
def test_place_enough_ram_gives_lowest_aligned_address(after: int, size: int, alignment: int) -> None:
    address = place(after, size, alignment, 1 << 60, "initrd")
    assert address % alignment == 0
    assert after <= address < after + alignment


def test_place_exact_fit_is_accepted() -> None:
    assert place(0x1000, 0x1000, 0x1000, 0x2000, "initrd") == 0x1000


def test_place_one_byte_too_many_says_how_much_is_missing() -> None:
    with pytest.raises(ConfigError) as caught:
        place(0x8020_0001, 3 * MIB, 2 * MIB, 0x8070_0000 - 1, "initrd")
    assert str(caught.value) == (
        "machine.memory: the initrd needs 3MiB at 0x80400000, but RAM ends at 0x806fffff; raise it by 1MiB or more"
    )


def test_segment_end_counts_the_zeroed_part() -> None:
    assert Segment(0x1000, memoryview(b"abc"), 0x20).end == 0x1020


@pytest.mark.parametrize(("size", "text"), [(0, "0MiB"), (1, "1MiB"), (MIB, "1MiB"), (MIB + 1, "2MiB")])
def test_mib_size_is_rounded_up(size: int, text: str) -> None:
    assert mib(size) == text
