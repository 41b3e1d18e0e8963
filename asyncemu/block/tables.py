# SPDX-License-Identifier: GPL-2.0-or-later
"""What a nested table inherits from the options of its parent. QEMU: bdrv_inherited_options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from asyncemu.block.driver import BlockDriver, BlockDriverOptions, ChildSlot
from asyncemu.block.flags import ROLE_COW, ROLE_DATA, ROLE_METADATA


def inherited(
    parent: type[BlockDriver[Any]], slot: ChildSlot, table: Mapping[str, object], options: BlockDriverOptions
) -> dict[str, object]:
    """``table`` with what it does not say itself and a parent with ``options`` decides."""
    defaults: dict[str, object] = {
        "force-share": options.force_share,
        "cache": {"direct": options.cache.direct, "no-flush": options.cache.no_flush},
    }
    if slot.role & ROLE_COW:
        defaults["read-only"] = True
    else:
        defaults["read-only"] = options.read_only
        defaults["auto-read-only"] = options.auto_read_only
        # What the format does with a discard is its matter; its file gives the storage back.
        defaults["discard"] = "unmap" if parent.is_format or slot.role & (ROLE_DATA | ROLE_METADATA) else options.discard
    given = {**table}
    cache = given.get("cache")
    if isinstance(cache, Mapping):
        given["cache"] = {**cast("dict[str, object]", defaults["cache"]), **cache}
    elif "cache" in given or any(key.startswith("cache.") for key in given):
        del defaults["cache"]
    return {**defaults, **given}
