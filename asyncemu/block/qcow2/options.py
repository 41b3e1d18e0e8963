# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys of the ``qcow2`` driver; QEMU's names (BlockdevOptionsQcow2)."""

from __future__ import annotations

from typing import Any, Literal

from asyncemu.block.driver import BlockDriverOptions
from asyncemu.block.qcow2.freed import DISCARD_ALWAYS, DISCARD_OTHER, DISCARD_REQUEST, DISCARD_SNAPSHOT
from asyncemu.block.qcow2.overlap import FLAGS, TEMPLATES
from asyncemu.plain_options import PlainOptions, option
from asyncemu.size import Size


class OverlapCheckOptions(PlainOptions):
    """Which overlap checks to do: those of a template, but for single ones."""

    template: Literal["none", "constant", "cached", "all"] = option(
        default="cached", description="What holds for those that are not named."
    )
    main_header: bool | None = option(default=None, description="Unintended writes into the main header.")
    active_l1: bool | None = option(default=None, description="Unintended writes into the active L1 table.")
    active_l2: bool | None = option(default=None, description="Unintended writes into an active L2 table.")
    refcount_table: bool | None = option(default=None, description="Unintended writes into the refcount table.")
    refcount_block: bool | None = option(default=None, description="Unintended writes into a refcount block.")
    snapshot_table: bool | None = option(default=None, description="Unintended writes into the snapshot table.")
    inactive_l1: bool | None = option(default=None, description="Unintended writes into an inactive L1 table.")
    inactive_l2: bool | None = option(default=None, description="Unintended writes into an inactive L2 table.")
    bitmap_directory: bool | None = option(default=None, description="Unintended writes into the bitmap directory.")


class Qcow2Options(BlockDriverOptions):
    """Keys of the ``qcow2`` driver; QEMU's names."""

    file: str | dict[str, Any] = option(description="The image: a node-name, or a table that makes a node.")
    backing: str | dict[str, Any] | None = option(
        default=None, description="What is read where nothing is allocated, instead of the file that the image names."
    )
    data_file: str | dict[str, Any] | None = option(
        default=None, description="The external data file, instead of the one that the image names."
    )
    lazy_refcounts: bool | None = option(
        default=None, description="Postpone refcount updates; default: as the image says."
    )
    pass_discard_request: bool | None = option(
        default=None, description="Pass discards of the guest on to the file; default: as discard says."
    )
    pass_discard_snapshot: bool = option(default=True, description="Discard what is freed with a snapshot in the file.")
    pass_discard_other: bool = option(default=False, description="Discard what is freed for other reasons in the file.")
    overlap_check: OverlapCheckOptions | Literal["none", "constant", "cached", "all"] | None = option(
        default=None, description="Which overlap checks to do before each write."
    )
    cache_size: Size | None = option(default=None, description="Both metadata caches together.")
    l2_cache_size: Size | None = option(default=None, description="The L2 table cache, at most.")
    l2_cache_entry_size: Size | None = option(default=None, description="One entry of the L2 table cache.")
    refcount_cache_size: Size | None = option(default=None, description="The refcount block cache, at most.")
    cache_clean_interval: int = option(
        default=600,
        ge=0,
        le=(1 << 32) - 1,
        description="Seconds after which what was not used leaves the caches; 0: never.",
    )
    encrypt: dict[str, Any] | None = option(default=None, description="Encrypted images are refused.")


def overlap_checks(value: str | OverlapCheckOptions | None) -> int:
    """The bits of overlap.py that the option ``overlap-check`` asks for."""
    if value is None:
        return TEMPLATES["cached"]
    if isinstance(value, str):
        return TEMPLATES[value]
    bits = TEMPLATES[value.template]
    for name, bit in FLAGS.items():
        wanted = getattr(value, name.replace("-", "_"))
        if wanted is not None:
            bits = bits | bit if wanted else bits & ~bit
    return bits


def discard_reasons(options: Qcow2Options) -> frozenset[int]:
    """The DISCARD_* that the file hears of."""
    request = options.pass_discard_request
    if request is None:
        request = options.discard == "unmap"
    wanted = (
        (DISCARD_ALWAYS, True),
        (DISCARD_REQUEST, request),
        (DISCARD_SNAPSHOT, options.pass_discard_snapshot),
        (DISCARD_OTHER, options.pass_discard_other),
    )
    return frozenset(reason for reason, passes in wanted if passes)
