# SPDX-License-Identifier: GPL-2.0-or-later
"""What direct I/O wants, asked of the kernel and found by trying."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncemu.block.file import alignment
from asyncemu.block.file.alignment import direct_alignment


@pytest.fixture
def direct_fd(image: Path) -> Iterator[int]:
    """The image, opened with O_DIRECT."""
    try:
        fd = os.open(image, os.O_RDWR | os.O_DIRECT)
    except OSError as error:
        pytest.skip(f"the file system of the temporary directory does no direct I/O: {error.strerror}")
    yield fd
    os.close(fd)


@pytest.mark.parametrize("can_ask", [alignment._can_ask, lambda fd: False], ids=["asked", "tried"])
def test_direct_alignment_is_enough_for_a_read(
    direct_fd: int, monkeypatch: pytest.MonkeyPatch, can_ask: Callable[[int], bool]
) -> None:
    monkeypatch.setattr(alignment, "_can_ask", can_ask)
    found = direct_alignment(direct_fd)
    assert found is not None
    request, memory = found
    page = memoryview(mmap.mmap(-1, 4 * mmap.PAGESIZE))
    assert os.preadv(direct_fd, [page[memory : memory + request]], request) == request


def test_direct_alignment_of_an_empty_file_by_trying_is_a_page(direct_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "_can_ask", lambda fd: False)
    os.ftruncate(direct_fd, 0)
    assert direct_alignment(direct_fd) == (mmap.PAGESIZE, mmap.PAGESIZE)


def test_direct_alignment_kernel_says_zero_is_no_direct_io(direct_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "_can_ask", lambda fd: True)
    monkeypatch.setattr(alignment, "_statx", lambda fd: bytes(256))
    assert direct_alignment(direct_fd) is None
