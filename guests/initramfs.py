"""The initramfs: busybox, init, kernel modules and the list that says in which order to load them."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

from guests import newc

INIT = Path(__file__).parent / "init"
UDHCPC_SCRIPT = Path(__file__).parent / "udhcpc.script"

# Commands that init uses before (or without) `busybox --install`.
# fmt: off
_APPLETS = (
    "cat", "cttyhack", "cut", "date", "dd", "grep", "hexdump", "insmod", "ip", "mount", "poweroff",
    "setsid", "sh", "sha256sum", "sleep", "sync", "tr", "udhcpc", "umount", "uname", "yes",
)
# fmt: on


def build(
    busybox: bytes, modules: Mapping[str, bytes], groups: Mapping[str, Sequence[str]], programs: Mapping[str, bytes]
) -> bytes:
    """The gzip-compressed archive.

    `modules` maps a module's name to its ELF bytes, `groups` a group's name to its modules in load order.
    `programs` are those of ours by name; the guest says so when it is asked for one that is left out.
    """
    # Linux's init/initramfs.c unpacks before init runs; the nodes serve until init has mounted devtmpfs over them.
    directories = ("bin", "dev", "etc", "etc/udhcpc", "mnt", "modules", "proc", "root", "sys", "tmp")
    entries = [newc.directory(name) for name in directories]
    entries += [newc.char_device("dev/console", 5, 1), newc.char_device("dev/kmsg", 1, 11)]
    entries += [newc.file("init", INIT.read_bytes(), 0o755), newc.file("bin/busybox", busybox, 0o755)]
    entries += [newc.symlink(f"bin/{applet}", "busybox") for applet in _APPLETS]
    entries.append(newc.file("etc/udhcpc/default.script", UDHCPC_SCRIPT.read_bytes(), 0o755))
    entries.append(newc.symlink("etc/udhcpc/default6.script", "default.script"))
    entries += [newc.file(f"bin/{name}", data, 0o755) for name, data in programs.items()]
    entries.append(newc.file("modules.order", order_file(groups)))
    entries += [newc.file(f"modules/{name}.ko", data) for name, data in modules.items()]
    return gzip.compress(newc.pack(entries), mtime=0)


def order_file(groups: Mapping[str, Sequence[str]]) -> bytes:
    """/modules.order of the guest: a line "GROUP MODULE" each, in load order."""
    return "".join(f"{group} {name}\n" for group, names in groups.items() for name in names).encode()
