# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the drivers, devices and back ends that asyncemu ships are defined: table in vm.toml → name → module.

A table and not imports, so that a machine loads only what it uses.
"""

from __future__ import annotations

from typing import Final

BUILTIN: Final[dict[str, dict[str, str]]] = {
    "blockdev": {
        "file": "asyncemu.block.file",
        "null-co": "asyncemu.block.null_co",
        "raw": "asyncemu.block.raw",
    },
    "chardev": {
        "file": "asyncemu.chardev.file",
        "null": "asyncemu.chardev.null",
        "pty": "asyncemu.chardev.pty",
        "socket": "asyncemu.chardev.socket",
        "stdio": "asyncemu.chardev.stdio",
    },
    "device": {
        "virtio-blk": "asyncemu.virtio.blk",
        "virtio-console": "asyncemu.virtio.console",
        "virtio-rng": "asyncemu.virtio.rng",
    },
}
