# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands, a file a subject; here is which module has which."""

from __future__ import annotations

from typing import Final

_HERE: Final = "asyncemu.monitor.commands"

#: Per module of this package: its commands.
_MODULES: Final[dict[str, tuple[str, ...]]] = {
    "running": ("query-status", "stop", "cont", "system_reset", "system_powerdown", "quit", "set-action"),
    "cpus": (
        "query-cpus-fast",
        "query-hotpluggable-cpus",
        "query-machines",
        "query-target",
        "query-current-machine",
        "inject-nmi",
    ),
    "chardevs": (
        "query-chardev",
        "query-chardev-backends",
        "chardev-add",
        "chardev-change",
        "chardev-remove",
        "chardev-send-break",
        "ringbuf-read",
        "ringbuf-write",
    ),
    "devices": ("device_add", "device_del"),
    "dump": ("dump-guest-memory", "query-dump", "query-dump-guest-memory-capability"),
    "iothreads": ("query-iothreads",),
    "tracing": ("trace-event-get-state", "trace-event-set-state"),
    "yank": ("query-yank", "yank"),
    "qom": ("qom-list", "qom-get", "qom-set", "qom-list-types", "qom-list-properties", "device-list-properties"),
    "memory": ("query-memory-size-summary", "query-memory-devices", "memsave", "pmemsave"),
    "block_exports": ("block-export-add", "block-export-del", "query-block-exports"),
    "block_limits": ("block_set_io_throttle", "block-set-write-threshold", "block-latency-histogram-set"),
    "block_nodes": ("blockdev-add", "blockdev-del", "blockdev-reopen", "block_resize", "x-blockdev-set-iothread"),
    "block_queries": ("query-block", "query-blockstats", "query-named-block-nodes", "x-debug-query-block-graph"),
    "block_snapshots": (
        "blockdev-snapshot",
        "blockdev-snapshot-sync",
        "blockdev-snapshot-internal-sync",
        "blockdev-snapshot-delete-internal-sync",
        "change-backing-file",
    ),
    "nbd_server": ("nbd-server-start", "nbd-server-stop", "nbd-server-add", "nbd-server-remove"),
    "netdevs": ("netdev_add", "netdev_del", "set_link", "query-rx-filter", "announce-self"),
    "objects": ("object-add", "object-del"),
    "transactions": ("transaction",),
    "capabilities": ("qmp_capabilities",),
    "descriptors": ("getfd", "closefd", "add-fd", "remove-fd", "query-fdsets"),
    "human": ("human-monitor-command",),
    "introspection": ("query-commands", "query-events", "query-qmp-schema"),
    "about": ("query-version", "query-name", "query-uuid", "query-kvm"),
}

#: Name of a command to the module that defines it.
COMMANDS: Final = {name: f"{_HERE}.{module}" for module, names in _MODULES.items() for name in names}
