"""Writer of cpio archives in the "newc" format, the one that Linux unpacks as initramfs.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
Output is a pure function of the entries: times and owners are zero, inode numbers count up from one.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_TRAILER = "TRAILER!!!"
_MAX_FIELD = 0xFFFF_FFFF  # every header field is eight hexadecimal digits
_PATH_MAX = 4096  # Linux's PATH_MAX: the kernel silently skips longer names


@dataclass(frozen=True, slots=True)
class Entry:
    """One archive member. `path` is relative; `mode` holds type and permission bits; `data` is a link's target."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)
    """Major and minor number; (0, 0) for what is no device node."""

    def __post_init__(self) -> None:
        name = self.path.encode()
        if not name or b"\0" in name or name.startswith(b"/") or self.path == _TRAILER:
            raise ValueError(f"{self.path!r} cannot be the path of an archive entry")
        if len(name) + 1 > _PATH_MAX:
            raise ValueError(f"path of {len(name)} bytes is longer than {_PATH_MAX - 1}")
        if not 0 <= self.mode <= _MAX_FIELD or not all(0 <= number <= _MAX_FIELD for number in self.device):
            raise ValueError(f"mode or device number of {self.path!r} does not fit 32 bits")


def directory(path: str, permissions: int = 0o755) -> Entry:
    return Entry(path, stat.S_IFDIR | permissions)


def file(path: str, data: bytes, permissions: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | permissions, data)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def char_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    return Entry(path, stat.S_IFCHR | permissions, device=(major, minor))


def pack(entries: Iterable[Entry]) -> bytes:
    """The archive as bytes. Parents must come before their children, as the kernel creates entries in order."""
    archive = bytearray()
    for inode, entry in enumerate(entries, start=1):
        _append(archive, entry.path, inode, entry.mode, entry.data, entry.device)
    _append(archive, _TRAILER, 0, 0, b"", (0, 0))
    return bytes(archive)


def _append(archive: bytearray, path: str, inode: int, mode: int, data: bytes, device: tuple[int, int]) -> None:
    if len(data) > _MAX_FIELD:
        raise ValueError(f"{path!r} is larger than 4 GiB")
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name), 0)
    archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name
    archive += bytes(-len(archive) % 4)
    archive += data
    archive += bytes(-len(archive) % 4)
