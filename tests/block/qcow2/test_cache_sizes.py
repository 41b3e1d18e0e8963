# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes of the metadata caches, by QEMU's rules (docs/qcow2-cache.txt)."""

from __future__ import annotations

import pytest

from asyncemu.block.qcow2.cache_sizes import cache_sizes
from asyncemu.block.qcow2.features import EXTENDED_L2
from asyncemu.block.qcow2.geometry import Geometry
from asyncemu.block.qcow2.header import Header
from asyncemu.errors import ConfigError

GEOMETRY = Geometry(Header())
GIB = 1 << 30
KIB = 1 << 10
MIB = 1 << 20


def test_cache_sizes_default_holds_all_l2_tables_of_8_gib() -> None:
    sizes = cache_sizes(GEOMETRY, 8 * GIB)

    assert sizes.l2_tables * sizes.l2_entry_size == MIB
    assert sizes.l2_entry_size == 64 * KIB
    assert sizes.refcount_tables == 4


def test_cache_sizes_default_ends_at_32_mib_in_small_entries() -> None:
    sizes = cache_sizes(GEOMETRY, 1024 * GIB)

    assert sizes.l2_tables * sizes.l2_entry_size == 32 * MIB
    assert sizes.l2_entry_size == 4096


def test_cache_sizes_extended_l2_needs_twice_as_much() -> None:
    sizes = cache_sizes(Geometry(Header(incompatible_features=EXTENDED_L2)), 8 * GIB)

    assert sizes.l2_tables * sizes.l2_entry_size == 2 * MIB


def test_cache_sizes_of_an_empty_disk_has_two_tables() -> None:
    assert cache_sizes(GEOMETRY, 0).l2_tables == 2


def test_cache_sizes_together_gives_l2_as_much_as_it_can_use() -> None:
    sizes = cache_sizes(GEOMETRY, 8 * GIB, cache_size=2 * MIB)

    assert sizes.l2_tables * sizes.l2_entry_size == MIB
    assert sizes.refcount_tables == 16


def test_cache_sizes_small_together_leaves_refcounts_the_least() -> None:
    sizes = cache_sizes(GEOMETRY, 1024 * GIB, cache_size=MIB)

    assert sizes.l2_tables * sizes.l2_entry_size == MIB - 256 * KIB
    assert sizes.refcount_tables == 4


@pytest.mark.parametrize(
    ("given", "l2", "refcounts"),
    [({"l2_cache_size": MIB}, MIB, MIB), ({"refcount_cache_size": MIB}, MIB, MIB)],
)
def test_cache_sizes_together_and_one_gives_the_rest_to_the_other(
    given: dict[str, int], l2: int, refcounts: int
) -> None:
    sizes = cache_sizes(GEOMETRY, 8 * GIB, cache_size=2 * MIB, **given)

    assert sizes.l2_tables * sizes.l2_entry_size == l2
    assert sizes.refcount_tables * 64 * KIB == refcounts


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"cache_size": MIB, "l2_cache_size": 1, "refcount_cache_size": 1},
            "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time",
        ),
        ({"cache_size": MIB, "l2_cache_size": 2 * MIB}, "l2-cache-size may not exceed cache-size"),
        ({"cache_size": MIB, "refcount_cache_size": 2 * MIB}, "refcount-cache-size may not exceed cache-size"),
        (
            {"l2_cache_entry_size": 1000},
            "L2 cache entry size must be a power of two between 512 and the cluster size (65536)",
        ),
        (
            {"l2_cache_entry_size": 128 * KIB},
            "L2 cache entry size must be a power of two between 512 and the cluster size (65536)",
        ),
    ],
)
def test_cache_sizes_contradictions_are_refused_in_qemus_words(given: dict[str, int], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        cache_sizes(GEOMETRY, GIB, **given)

    assert refused.value.problem == problem
