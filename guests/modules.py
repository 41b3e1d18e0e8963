"""Which kernel modules the guest's init loads, and in which order.

Debian ships no modules.dep (depmod makes it at installation), so the order comes from what each module says
about itself: the `depends` and `softdep` strings of its ELF section .modinfo (Linux, include/linux/module.h).
"""

from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guests.errors import FetchError

GROUPS: Mapping[str, Sequence[str]] = {
    "console": ("virtio_mmio", "virtio_pci", "virtio_console"),
    "base": ("virtio_blk", "virtio_rng", "rtc_goldfish"),
    "ext4": ("ext4",),
    "net": ("virtio_net",),
}
"""Group -> modules that init loads together. What is built into the kernel is left out by `load_order`."""


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """A module's own word about itself; names have underscores only."""

    depends: tuple[str, ...]
    load_before: tuple[str, ...]
    """Soft dependencies of the `pre:` kind: loaded first where they exist."""


def canonical(name: str) -> str:
    return name.replace("-", "_")


def parse_modinfo(elf: bytes) -> ModuleInfo:
    """Dependencies of a 64-bit little-endian module; raises ValueError for anything else."""
    strings = _section(elf, b".modinfo").split(b"\0")
    pairs = [string.decode(errors="replace").partition("=")[::2] for string in strings]
    depends = [name for key, value in pairs if key == "depends" for name in value.split(",") if name]
    before = [name for key, value in pairs if key == "softdep" for name in _pre_words(value)]
    return ModuleInfo(tuple(map(canonical, depends)), tuple(map(canonical, before)))


def _pre_words(softdep: str) -> list[str]:
    before: list[str] = []
    kind = ""
    for word in softdep.split():
        if word.endswith(":"):
            kind = word
        elif kind == "pre:":
            before.append(word)
    return before


def _section(elf: bytes, wanted: bytes) -> bytes:
    # Elf64_Ehdr and Elf64_Shdr, System V ABI; fields that are not needed are skipped.
    try:
        if elf[:6] != b"\x7fELF\x02\x01":
            raise ValueError("not a 64-bit little-endian ELF file")
        table, size, count, names_index = *struct.unpack_from("<Q", elf, 40), *struct.unpack_from("<HHH", elf, 58)
        headers = [struct.unpack_from("<I20xQQ24x", elf, table + size * index) for index in range(count)]
        names_offset = headers[names_index][1]
        for name, offset, length in headers:
            start = names_offset + name
            if elf[start : start + len(wanted) + 1] == wanted + b"\0":
                return elf[offset : offset + length]
    except (struct.error, IndexError):
        raise ValueError("truncated ELF file") from None
    return b""


def read_module(path: Path) -> bytes:
    """The plain ELF bytes of a `.ko`, `.ko.xz` or `.ko.gz` file; raises FetchError."""
    unpack = {".xz": lzma.decompress, ".gz": gzip.decompress}.get(path.suffix, bytes)
    try:
        return unpack(path.read_bytes())
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise FetchError(f"kernel module {path.name} cannot be read: {error}") from error


class ModuleTree:
    """The directory /lib/modules/<release> of one kernel."""

    def __init__(self, root: Path) -> None:
        found = (path for path in root.rglob("*.ko*") if path.is_file())
        self._files = {canonical(path.name.partition(".ko")[0]): path for path in found}
        builtin = root / "modules.builtin"
        lines = builtin.read_text().split() if builtin.is_file() else []
        self._builtin = {canonical(Path(line).stem) for line in lines}
        self._cache: dict[str, tuple[bytes, ModuleInfo]] = {}

    def is_builtin(self, name: str) -> bool:
        return name in self._builtin

    def has(self, name: str) -> bool:
        return name in self._files

    def data(self, name: str) -> bytes:
        return self._load(name)[0]

    def info(self, name: str) -> ModuleInfo:
        return self._load(name)[1]

    def _load(self, name: str) -> tuple[bytes, ModuleInfo]:
        if name not in self._cache:
            if name not in self._files:
                raise FetchError(f"the kernel has module {name} neither as a file nor built in")
            data = read_module(self._files[name])
            try:
                self._cache[name] = data, parse_modinfo(data)
            except ValueError as error:
                raise FetchError(f"kernel module {name}: {error}") from error
        return self._cache[name]


def load_order(tree: ModuleTree, wanted: Sequence[str]) -> list[str]:
    """Modules to load so that each comes after what it needs; built-in ones are left out; raises FetchError."""
    order: list[str] = []
    entered: set[str] = set()

    def visit(name: str) -> None:
        if tree.is_builtin(name) or name in order:
            return
        if name in entered:
            raise FetchError(f"kernel module {name} depends on itself")
        entered.add(name)
        info = tree.info(name)
        for other in info.load_before:
            for provider in _providers(tree, other):
                if provider not in entered:  # soft dependencies may be circular
                    visit(provider)
        for other in info.depends:
            visit(other)
        order.append(name)

    for name in wanted:
        visit(canonical(name))
    return order


def _providers(tree: ModuleTree, soft: str) -> list[str]:
    """Modules that a soft dependency means. "crypto-crc32c" is an alias, by convention of crc32c or crc32c_generic."""
    algorithm = soft.removeprefix("crypto_")
    names = dict.fromkeys((soft, algorithm, algorithm + "_generic"))
    return [name for name in names if tree.has(name)]
