# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of nodes: what a nested one inherits from the options of its parent, and what can't go together.

QEMU: bdrv_inherited_options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from asyncemu.block.driver import BlockDriver, BlockDriverOptions, ChildSlot
from asyncemu.block.flags import ROLE_COW, ROLE_DATA, ROLE_METADATA
from asyncemu.errors import ConfigError
from asyncemu.plugins import find


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
        its_matter = parent.is_format or slot.role & (ROLE_DATA | ROLE_METADATA)
        defaults["discard"] = "unmap" if its_matter else options.discard
    given = {**table}
    cache = given.get("cache")
    if isinstance(cache, Mapping):
        given["cache"] = {**cast("dict[str, object]", defaults["cache"]), **cache}
    elif "cache" in given or any(key.startswith("cache.") for key in given):
        del defaults["cache"]
    return {**defaults, **given}


def check_options(options: BlockDriverOptions, where: str) -> None:
    """ConfigError, in QEMU's words: options that all drivers take, and that can't go together."""
    if options.detect_zeroes == "unmap" and options.discard != "unmap":
        raise ConfigError(
            f"{where}.detect-zeroes",
            "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap",
        )
    if options.force_share and not options.read_only:
        raise ConfigError(f"{where}.force-share", "force-share=on can only be used with read-only images")


def names_storage(table: Mapping[str, object]) -> bool:
    """Does the table of a backing file say where the bytes are? Otherwise the image does. Raises ConfigError."""
    if "file" in table or "filename" in table or "plugin" in table:
        return True
    driver = table.get("driver")
    if driver is None:
        return False
    found = find("blockdev", str(driver), "driver")
    assert issubclass(found, BlockDriver)
    return not any(slot.name == "file" for slot in found.children)


def unknown_node(where: str, name: str) -> ConfigError:
    """What to raise when an option at ``where`` names a node that is not there. QEMU takes devices' names, too."""
    problem = f"Cannot find device='{name}' nor node-name='{name}'"
    return ConfigError(where, problem, "name a node that is defined above")
