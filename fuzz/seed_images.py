# SPDX-License-Identifier: GPL-2.0-or-later
"""Small qcow2 images of all sorts, made by qemu-img: what mutations begin with."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Final

#: Of guest data: tells them from metadata.
DATA_BYTE: Final = 0x5A

_SIZE: Final = 128 << 10
_WRITES: Final = tuple(f"write -P {DATA_BYTE:#x} {what}" for what in ("0 3k", "20k 1k", "65k 512"))
#: Options of qemu-img create.
_KINDS: Final = {
    "small-clusters": "cluster_size=512",
    "wide-refcounts": "cluster_size=512,refcount_bits=64",
    "narrow-refcounts": "cluster_size=512,refcount_bits=1",
    "version-2": "cluster_size=512,compat=0.10",
    "extended-l2": "cluster_size=16k,extended_l2=on",
    "zstd": "cluster_size=4k,compression_type=zstd",
    "lazy": "cluster_size=1k,lazy_refcounts=on",
}


@functools.cache
def seed_images() -> tuple[bytes, ...]:
    """One of each kind. CalledProcessError, FileNotFoundError: qemu-img can't."""
    with tempfile.TemporaryDirectory() as folder:
        return tuple(_make(Path(folder) / name, options) for name, options in _KINDS.items())


def _make(path: Path, options: str) -> bytes:
    _run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, str(_SIZE))
    _io(path, *_WRITES, "write -z 8k 16k")
    if "zstd" in options or options == "cluster_size=512":
        _io(path, "write -c -P 0x5a 36k 4k")
    if "compat" not in options:
        _run("qemu-img", "bitmap", "--add", "-g", "512", path, "bitmap")
        _io(path, "write -P 0x5a 100k 512")
    if "refcount_bits=1" not in options:
        _run("qemu-img", "snapshot", "-c", "one", path)
        _io(path, "write -P 0x5a 1k 512")
    return path.read_bytes()


def _io(path: Path, *commands: str) -> None:
    _run("qemu-io", *(word for command in commands for word in ("-c", command)), path)


def _run(*words: str | Path) -> None:
    subprocess.run(list(map(str, words)), check=True, capture_output=True, timeout=60)
