"""Small look-alikes of kernel modules and of the tree that they lie in."""

from __future__ import annotations

import lzma
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path


def module(*strings: str) -> bytes:
    """An ELF file whose section .modinfo holds the strings, NUL-terminated."""
    modinfo = b"".join(string.encode() + b"\0" for string in strings)
    names = b"\0.modinfo\0.shstrtab\0"
    start = 64
    table = start + len(modinfo) + len(names)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 1, 243, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)
    sections = [(0, 0, 0), (1, start, len(modinfo)), (10, start + len(modinfo), len(names))]
    packed = [struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, offset, size, 0, 0, 1, 0) for name, offset, size in sections]
    return header + modinfo + names + b"".join(packed)


def write(root: Path, modules: Mapping[str, Sequence[str]], builtin: Sequence[str] = ()) -> Path:
    """Modules as .ko.xz files below `root`, by file name without the suffix, and a modules.builtin."""
    (root / "kernel").mkdir(parents=True)
    for name, strings in modules.items():
        (root / "kernel" / f"{name}.ko.xz").write_bytes(lzma.compress(module(*strings)))
    (root / "modules.builtin").write_text("".join(f"kernel/drivers/{name}.ko\n" for name in builtin))
    return root
