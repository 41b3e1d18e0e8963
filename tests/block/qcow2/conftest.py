# SPDX-License-Identifier: GPL-2.0-or-later
"""What the qcow2 tests share: images made by us and by QEMU, opened, checked and compared."""

from __future__ import annotations

import contextlib
import random
import struct
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.backend import BlockBackend
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.qcow2.creation_options import Qcow2Creation
from asyncemu.block.qcow2.driver import Qcow2Driver
from asyncemu.block.qcow2.image import Image
from asyncemu.memory.buffers import Buffers


def qemu_img(*arguments: str | Path | int) -> str:
    """Output of qemu-img; AssertionError when it fails."""
    ended = subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, f"qemu-img {arguments}: {ended.returncode} {ended.stdout} {ended.stderr}"
    return ended.stdout


def qemu_io(path: Path, *commands: str, options: str = "") -> str:
    """Output of qemu-io; AssertionError when it fails, or finds another pattern."""
    words = [word for command in commands for word in ("-c", command)]
    target = [str(path)] if not options else ["--image-opts", f"driver=qcow2,file.filename={path},{options}"]
    ended = subprocess.run(["qemu-io", *words, *target], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, f"qemu-io {commands}: {ended.stdout} {ended.stderr}"
    assert "verification failed" not in ended.stdout, ended.stdout
    return ended.stdout


def qemu_create(path: Path, size: int | str, **options: Any) -> Path:
    """An image that QEMU makes."""
    words = ["-o", creation_text(options)] if options else []
    qemu_img("create", "-q", "-u", "-f", "qcow2", *words, path, str(size))
    return path


def creation_text(options: dict[str, Any]) -> str:
    """``cluster_size=512,extended_l2=on``."""
    return ",".join(f"{key}={_text(value)}" for key, value in options.items())


def _text(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def qemu_says_clean(path: Path) -> bool:
    """Neither leaks nor corruptions."""
    ended = subprocess.run(["qemu-img", "check", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, f"{ended.returncode} {ended.stdout} {ended.stderr}"
    return True


def qemu_reads(path: Path, options: str = "") -> bytes:
    """What QEMU finds in the image."""
    raw = path.with_suffix(".contents")
    source = [str(path)] if not options else ["--image-opts", f"driver=qcow2,file.filename={path},{options}"]
    qemu_img("convert", "-O", "raw", *source, raw)
    return raw.read_bytes()


async def create(graph: BlockGraph, path: Path, size: int, **options: Any) -> Path:
    """An image that we make."""
    path.write_bytes(b"")
    node = await graph.add_table({"driver": "file", "filename": str(path)}, "file")
    backend = BlockBackend("creation", graph.context, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL)
    backend.allow_write_beyond_end = True
    await backend.insert(node)
    try:
        await Qcow2Driver.create(backend, Qcow2Creation(size=size, **options))
    finally:
        await backend.remove()
        await graph.remove(node)
    return path


async def open_image(graph: BlockGraph, path: Path, mode: OpenMode = OpenMode(), **options: Any) -> BlockNode:  # noqa: B008
    """The node; ``l2_cache_size=...`` is the option of that name. Flushes cost nothing unless ``cache`` says so."""
    table = {key.replace("_", "-"): value for key, value in options.items()}
    return await graph.add_table(
        {
            "driver": "qcow2",
            "file": {"driver": "file", "filename": str(path)},
            "cache": {"no-flush": True},
            "discard": "unmap",
            **table,
        },
        "qcow2",
        mode,
    )


@contextlib.asynccontextmanager
async def opened(graph: BlockGraph, path: Path, **options: Any) -> AsyncIterator[BlockNode]:
    """The node, closed at the end. Who writes to a data file needs a user who may; so there is one."""
    node = await open_image(graph, path, **options)
    user = BlockBackend("user", graph.context, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL)
    if image_of(node).external_data is not None and not node.read_only:
        await user.insert(node)
    try:
        yield node
    finally:
        if user.root is not None:
            await user.remove()
        await graph.remove(node)


def image_of(node: BlockNode) -> Image:
    """What is inside."""
    assert isinstance(node.driver, Qcow2Driver)
    return node.driver.image


async def write(node: BlockNode, offset: int, data: bytes, flags: int = 0) -> None:
    """Write ``data``."""
    await node.pwritev(offset, Buffers.of(bytearray(data)), flags)


def pattern(length: int, seed: int = 0) -> bytes:
    """Bytes that don't repeat; a shorter one is the beginning of a longer one."""
    return random.Random(seed).randbytes(-(-length // 4) * 4)[:length]


# ---- the file itself


def header_field(path: Path, offset: int, form: str) -> int:
    """One field of the header."""
    value: int = struct.unpack_from(form, path.read_bytes(), offset)[0]
    return value


def patch(path: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes of the file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def l2_table_offset(path: Path, index: int = 0) -> int:
    """Where the L2 table of an L1 entry is."""
    l1_table = header_field(path, 40, ">Q")
    return header_field(path, l1_table + 8 * index, ">Q") & 0x00FF_FFFF_FFFF_FE00


def l2_entry(path: Path, index: int) -> int:
    """An entry of the first L2 table."""
    return header_field(path, l2_table_offset(path) + 8 * index, ">Q")
