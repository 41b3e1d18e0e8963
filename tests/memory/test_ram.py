# SPDX-License-Identifier: GPL-2.0-or-later
"""GuestRam: shared pages of zeroes, and one line when the host has not got them."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator

import pytest

from asyncemu.errors import ConfigError
from asyncemu.memory import GuestRam
from asyncemu.memory.ram import PAGE_SIZE

SIZE = 16 * PAGE_SIZE


@pytest.fixture
def ram() -> Iterator[GuestRam]:
    ram = GuestRam(SIZE)
    yield ram
    ram.close()


def test_new_is_zero_and_as_large_as_asked_for(ram: GuestRam) -> None:
    assert (ram.size, ram.view.tobytes()) == (SIZE, bytes(SIZE))
    assert not ram.view.readonly


def test_view_is_the_memfd_s_contents(ram: GuestRam) -> None:
    ram.view[100:104] = b"here"

    assert os.pread(ram.fd, 4, 100) == b"here"


def test_address_is_the_first_byte_s(ram: GuestRam) -> None:
    ram.view[:5] = b"first"

    assert ctypes.string_at(ram.address, 5) == b"first"


def test_second_mapping_sees_the_same_pages(ram: GuestRam) -> None:
    with mmap.mmap(ram.fd, SIZE, mmap.MAP_SHARED) as other:
        other[PAGE_SIZE] = 7

    assert ram.view[PAGE_SIZE] == 7


def test_clear_is_zero_again_in_every_mapping_and_for_old_views(ram: GuestRam) -> None:
    old = ram.view[SIZE - 4 :]
    with mmap.mmap(ram.fd, SIZE, mmap.MAP_SHARED) as other:
        ram.view[:] = b"\xff" * SIZE
        ram.clear()
        seen = (ram.view.tobytes(), other[:], old.tobytes())

    assert seen == (bytes(SIZE), bytes(SIZE), bytes(4))


def test_clear_gives_the_pages_back_to_the_host_and_keeps_the_size(ram: GuestRam) -> None:
    ram.view[:] = b"\xff" * SIZE

    ram.clear()

    assert (os.fstat(ram.fd).st_blocks, os.fstat(ram.fd).st_size) == (0, SIZE)


def test_clear_then_write_is_kept(ram: GuestRam) -> None:
    ram.clear()
    ram.view[:4] = b"anew"

    assert os.pread(ram.fd, 4, 0) == b"anew"


def test_close_keeps_the_views_and_twice_is_once() -> None:
    ram = GuestRam(SIZE)
    ram.view[:4] = b"kept"

    ram.close()
    ram.close()

    assert (ram.fd, ram.view[:4].tobytes()) == (-1, b"kept")


@pytest.mark.parametrize("size", [0, -PAGE_SIZE, 1, PAGE_SIZE + 1])
def test_size_not_whole_pages_is_a_config_error(size: int) -> None:
    with pytest.raises(ConfigError) as raised:
        GuestRam(size)

    assert str(raised.value) == f"machine.memory: {size} bytes; give a multiple of 4096 bytes"


@pytest.mark.parametrize("size", [1 << 47, 1 << 62, 1 << 63, 1 << 80])
def test_size_absurd_is_one_line_and_leaves_no_descriptor(size: int) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208

    with pytest.raises(ConfigError) as raised:
        GuestRam(size, "device[3].memory")

    message = str(raised.value)
    assert message.startswith(f"device[3].memory: the host has not got {size} bytes (")
    assert message.endswith("); ask for less")
    assert "\n" not in message
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_host_without_descriptors_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)

    with pytest.raises(ConfigError) as raised:
        GuestRam(SIZE)

    message = f"machine.memory: the host has not got {SIZE} bytes (Too many open files); ask for less"
    assert str(raised.value) == message


def test_load_copies_to_the_offset() -> None:
    ram = GuestRam(8192)

    ram.load(4000, memoryview(b"hello"))

    assert bytes(ram.view[3999:4006]) == b"\0hello\0"
    ram.close()


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (8192, 1), (8000, 193)])
def test_load_past_the_ram_is_refused(offset: int, length: int) -> None:
    ram = GuestRam(8192)

    with pytest.raises(ValueError, match="bytes of RAM"):
        ram.load(offset, bytes(length))

    ram.close()
