# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the drivers, devices and back ends that asyncemu ships are defined: table in vm.toml → name → module.

A table and not imports, so that a machine loads only what it uses.
"""

from __future__ import annotations

from typing import Final

BUILTIN: Final[dict[str, dict[str, str]]] = {
    "blockdev": {
        "blkdebug": "asyncemu.block.blkdebug",
        "blkverify": "asyncemu.block.blkverify",
        "chaos": "asyncemu.block.chaos",
        "compress": "asyncemu.block.compress",
        "copy-on-read": "asyncemu.block.copy_on_read_filter",
        "delay": "asyncemu.block.delay",
        "file": "asyncemu.block.file",
        "host_device": "asyncemu.block.host_device",
        "http": "asyncemu.block.http",
        "https": "asyncemu.block.http",
        "nbd": "asyncemu.block.nbd.driver",
        "null-aio": "asyncemu.block.null_aio",
        "null-co": "asyncemu.block.null_co",
        "preallocate": "asyncemu.block.preallocate",
        "qcow2": "asyncemu.block.qcow2.driver",
        "raw": "asyncemu.block.raw",
        "throttle": "asyncemu.block.throttle",
    },
    "chardev": {
        "file": "asyncemu.chardev.file",
        "memory": "asyncemu.chardev.ringbuf",
        "null": "asyncemu.chardev.null",
        "pipe": "asyncemu.chardev.pipe",
        "pty": "asyncemu.chardev.pty",
        "python": "asyncemu.chardev.python",
        "ringbuf": "asyncemu.chardev.ringbuf",
        "serial": "asyncemu.chardev.serial",
        "socket": "asyncemu.chardev.socket",
        "stdio": "asyncemu.chardev.stdio",
        "tty": "asyncemu.chardev.serial",
        "udp": "asyncemu.chardev.udp",
    },
    "netdev": {
        "bridge": "asyncemu.net.tap.bridge",
        "dgram": "asyncemu.net.dgram",
        "hubport": "asyncemu.net.hubport",
        "null": "asyncemu.net.null",
        "socket": "asyncemu.net.socket",
        "stream": "asyncemu.net.stream",
        "tap": "asyncemu.net.tap",
        "user": "asyncemu.net.user.backend",
    },
    "netfilter": {
        "filter-buffer": "asyncemu.net.filters.buffer",
        "filter-dump": "asyncemu.net.filters.dump",
        "filter-mirror": "asyncemu.net.filters.mirror",
        "filter-netem": "asyncemu.net.filters.netem",
        "filter-redirector": "asyncemu.net.filters.redirector",
        "filter-rewriter": "asyncemu.net.filters.rewriter",
    },
    "device": {
        "virtio-blk": "asyncemu.virtio.blk",
        "virtio-console": "asyncemu.virtio.console",
        "virtio-net": "asyncemu.virtio.net",
        "virtio-rng": "asyncemu.virtio.rng",
    },
}
