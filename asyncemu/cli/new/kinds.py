# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of plug-ins that ``asyncemu new`` writes."""

from __future__ import annotations

from typing import Final, NamedTuple


class Kind(NamedTuple):
    """One of them; its templates are in the folder of its name."""

    #: The table in vm.toml that names it, and the key that does.
    table: str
    key: str
    title: str
    #: Where an author reads on.
    guide: str


KINDS: Final = {
    "device": Kind("device", "driver", "MMIO device", "asyncemu's `docs/guides/mmio-device.md`"),
    "virtio": Kind("device", "driver", "Virtio device", "asyncemu's `docs/guides/virtio-device.md`"),
    "block": Kind("blockdev", "driver", "Block driver", "asyncemu's `docs/guides/block-driver.md`"),
    "net": Kind("netdev", "type", "Network back end", "asyncemu's `docs/guides/net-backend.md`"),
    "chardev": Kind("chardev", "backend", "Character back end", "the head of `asyncemu.chardev.chardev`"),
    "filter": Kind("netfilter", "driver", "Network filter", "asyncemu's `docs/guides/filter.md`"),
}
