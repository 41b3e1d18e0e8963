# SPDX-License-Identifier: GPL-2.0-or-later
"""What the block tests share: a graph that is closed at the end, and an image file."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.io_uring import IoUring
from asyncemu.loop import AioContext
from tests.iothreads import iothreads as iothreads

IMAGE_SIZE = 1 << 16


def contents(path: Path) -> bytes:
    """What is in the file now."""
    return path.read_bytes()


def allocated(path: Path) -> tuple[int, int]:
    """Size in bytes, and blocks of 512 bytes that hold storage."""
    status = path.stat()
    return status.st_size, status.st_blocks


@pytest.fixture
async def graph(context: AioContext, tmp_path: Path) -> AsyncIterator[BlockGraph]:
    """A graph whose relative file names are relative to ``tmp_path``."""
    graph = BlockGraph(context, tmp_path)
    yield graph
    await graph.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """``disk.img``: IMAGE_SIZE bytes that don't repeat."""
    path = tmp_path / "disk.img"
    path.write_bytes(random.Random(7).randbytes(IMAGE_SIZE))
    return path


def _io_uring_refusal() -> str:
    try:
        IoUring(4).close()
    except OSError as error:
        return str(error.strerror)
    return ""


_REFUSAL = _io_uring_refusal()

#: Marks a test that can't run where the kernel has no io_uring.
needs_io_uring = pytest.mark.skipif(bool(_REFUSAL), reason=f"the kernel refuses io_uring: {_REFUSAL}")
