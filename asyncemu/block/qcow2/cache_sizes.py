# SPDX-License-Identifier: GPL-2.0-or-later
"""CacheSizes: how many tables the two metadata caches keep, by QEMU's rules.

QEMU, docs/qcow2-cache.txt: "Choosing the right cache sizes", "How to configure the cache sizes", "Using smaller cache
entries".
"""

from __future__ import annotations

from typing import Final, NamedTuple

from asyncemu.block.qcow2.constants import MIN_CLUSTER_BITS
from asyncemu.block.qcow2.geometry import Geometry
from asyncemu.errors import ConfigError

#: Bytes of L2 tables at most, when nothing is said.
DEFAULT_L2_CACHE: Final = 32 << 20
_MIN_L2_TABLES: Final = 2
_MIN_REFCOUNT_TABLES: Final = 4

#: Bytes of an L2 slice where the cache does not hold all L2 tables.
_SMALL_ENTRY: Final = 4096


class CacheSizes(NamedTuple):
    """Tables in each cache, and the bytes of an entry of the L2 cache; that of the other is a cluster."""

    l2_tables: int
    l2_entry_size: int
    refcount_tables: int
    #: Bytes that the L2 cache may have when the disk grows.
    l2_bytes: int


def cache_sizes(
    geometry: Geometry,
    size: int,
    *,
    cache_size: int | None = None,
    l2_cache_size: int | None = None,
    refcount_cache_size: int | None = None,
    l2_cache_entry_size: int | None = None,
) -> CacheSizes:
    """For a disk of ``size`` bytes; the options in bytes. ConfigError: they contradict each other."""
    cluster = geometry.cluster_size
    all_l2 = geometry.round_up(geometry.clusters(size) * 8 * geometry.entry_words)
    least_refcounts = _MIN_REFCOUNT_TABLES * cluster
    l2 = DEFAULT_L2_CACHE if l2_cache_size is None else l2_cache_size
    refcounts = least_refcounts if refcount_cache_size is None else refcount_cache_size
    if cache_size is not None:
        if l2_cache_size is not None and refcount_cache_size is not None:
            problem = "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time"
            raise ConfigError("cache-size", problem)
        if l2_cache_size is not None and l2_cache_size > cache_size:
            raise ConfigError("l2-cache-size", "l2-cache-size may not exceed cache-size")
        if refcount_cache_size is not None and refcount_cache_size > cache_size:
            raise ConfigError("refcount-cache-size", "refcount-cache-size may not exceed cache-size")
        if l2_cache_size is not None:
            refcounts = cache_size - l2_cache_size
        elif refcount_cache_size is not None:
            l2 = cache_size - refcount_cache_size
        elif cache_size >= all_l2 + least_refcounts:
            # As much as possible for L2 tables, the rest for refcounts.
            l2, refcounts = all_l2, cache_size - all_l2
        else:
            refcounts = min(cache_size, least_refcounts)
            l2 = cache_size - refcounts
    allowed = l2
    l2 = min(l2, all_l2)
    entry = l2_cache_entry_size
    if entry is None:
        entry = min(cluster, _SMALL_ENTRY) if l2 < all_l2 else cluster
    if not 1 << MIN_CLUSTER_BITS <= entry <= cluster or entry & entry - 1:
        problem = (
            f"L2 cache entry size must be a power of two between {1 << MIN_CLUSTER_BITS} and the cluster size "
            f"({cluster})"
        )
        raise ConfigError("l2-cache-entry-size", problem)
    return CacheSizes(max(l2 // entry, _MIN_L2_TABLES), entry, max(refcounts // cluster, _MIN_REFCOUNT_TABLES), allowed)
