"""The initramfs: busybox, init, kernel modules and the list that says in which order to load them."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

from guests import newc

INIT = Path(__file__).parent / "init"

# Commands that init uses before (or without) `busybox --install`.
# fmt: off
_APPLETS = (
    "cat", "cttyhack", "cut", "date", "dd", "grep", "hexdump", "insmod", "mount", "poweroff",
    "setsid", "sh", "sha256sum", "sleep", "sync", "tr", "umount", "uname", "yes",
)
# fmt: on


def build(
    busybox: bytes, modules: Mapping[str, bytes], groups: Mapping[str, Sequence[str]], blockbench: bytes | None
) -> bytes:
    """The gzip-compressed archive.

    `modules` maps a module's name to its ELF bytes, `groups` a group's name to its modules in load order.
    Without `blockbench` the program is left out, and the guest says so when it is asked for it.
    """
    # Linux's init/initramfs.c unpacks before init runs; the nodes serve until init has mounted devtmpfs over them.
    entries = [newc.directory(name) for name in ("bin", "dev", "mnt", "modules", "proc", "root", "sys", "tmp")]
    entries += [newc.char_device("dev/console", 5, 1), newc.char_device("dev/kmsg", 1, 11)]
    entries += [newc.file("init", INIT.read_bytes(), 0o755), newc.file("bin/busybox", busybox, 0o755)]
    entries += [newc.symlink(f"bin/{applet}", "busybox") for applet in _APPLETS]
    if blockbench is not None:
        entries.append(newc.file("bin/blockbench", blockbench, 0o755))
    entries.append(newc.file("modules.order", order_file(groups)))
    entries += [newc.file(f"modules/{name}.ko", data) for name, data in modules.items()]
    return gzip.compress(newc.pack(entries), mtime=0)


def order_file(groups: Mapping[str, Sequence[str]]) -> bytes:
    """/modules.order of the guest: a line "GROUP MODULE" each, in load order."""
    return "".join(f"{group} {name}\n" for group, names in groups.items() for name in names).encode()
