# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of descriptors, and the file names that mean them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from asyncemu.errors import AsyncemuError
from asyncemu.fdsets import MAX_DESCRIPTORS, Fdsets, open_copy


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def sets() -> Iterator[Fdsets]:
    sets = Fdsets()
    yield sets
    sets.close()


def test_add_without_a_number_takes_the_first_free_one(sets: Fdsets, pipe: tuple[int, int]) -> None:
    numbers = [sets.add(os.dup(pipe[0]), id, None) for id in (1, None, None, 1)]

    assert numbers == [1, 0, 2, 1]


def test_add_to_a_negative_set_is_refused_and_closed(sets: Fdsets, pipe: tuple[int, int]) -> None:
    fd = os.dup(pipe[0])

    with pytest.raises(AsyncemuError, match=r"^Parameter 'fdset-id' expects a non-negative value$"):
        sets.add(fd, -1, None)

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_add_too_many_is_refused(sets: Fdsets, pipe: tuple[int, int]) -> None:
    for _ in range(MAX_DESCRIPTORS):
        sets.add(os.dup(pipe[0]), 0, None)

    with pytest.raises(AsyncemuError, match=r"^256 file descriptors are kept already$"):
        sets.add(os.dup(pipe[0]), 0, None)


def test_remove_what_is_not_there_is_refused(sets: Fdsets, pipe: tuple[int, int]) -> None:
    sets.add(os.dup(pipe[0]), 3, None)

    with pytest.raises(AsyncemuError, match=r"^File descriptor named 'fdset-id:4' not found$"):
        sets.remove(4)
    with pytest.raises(AsyncemuError, match=r"^File descriptor named 'fdset-id:3, fd:9999' not found$"):
        sets.remove(3, 9999)


def test_open_copy_chooses_by_the_access_mode(sets: Fdsets, pipe: tuple[int, int]) -> None:
    for end in pipe:
        sets.add(os.dup(end), 5, None)

    writing = open_copy("/dev/fdset/5", os.O_WRONLY)
    sets.remove(5)
    os.write(writing, b"x")
    os.close(writing)

    assert os.read(pipe[0], 2) == b"x"


@pytest.mark.parametrize(
    ("name", "flags", "error"),
    [
        ("/dev/fdset/5", os.O_RDWR, PermissionError),
        ("/dev/fdset/6", os.O_RDONLY, FileNotFoundError),
        ("/dev/fdset/", os.O_RDONLY, FileNotFoundError),
        ("/dev/fdset/x", os.O_RDONLY, FileNotFoundError),
        ("/dev/fdset/" + "9" * 5000, os.O_RDONLY, FileNotFoundError),
    ],
)
def test_open_copy_of_what_is_not_there_is_the_systems_error(
    sets: Fdsets, pipe: tuple[int, int], name: str, flags: int, error: type[OSError]
) -> None:
    sets.add(os.dup(pipe[0]), 5, None)

    with pytest.raises(error):
        open_copy(name, flags)
