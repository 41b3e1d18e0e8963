# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels compressed as a whole."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.errors import ConfigError
from asyncemu.machine.loader import compressed

from .builders import MIB, elf, gzip_pack, load, problem, riscv_image, source, zstd_pack

AGAIN = "copy or download the file again"
Pack = Callable[[bytes], bytes]
each_codec = pytest.mark.parametrize(("name", "pack"), [("gzip", gzip_pack), ("zstd", zstd_pack)])


@each_codec
def test_compressed_image_is_unpacked(name: str, pack: Pack) -> None:
    loaded = load(pack(riscv_image()))
    assert (loaded.format, bytes(loaded.segments[0].data)) == (f"riscv-image in {name}", riscv_image())


@each_codec
def test_compressed_elf_is_unpacked(name: str, pack: Pack) -> None:
    assert load(pack(elf())).format == f"elf in {name}"


@pytest.mark.parametrize("pack", [gzip_pack, zstd_pack])
@given(data=st.binary(min_size=1, max_size=3000))
def test_unpack_what_was_packed_is_equal(pack: Pack, data: bytes) -> None:
    assert compressed.unpack(source(pack(data)), limit=len(data))[1].data == data


@each_codec
@pytest.mark.parametrize("missing", [1, 4, 9, 20])
def test_compressed_image_cut_short_is_truncated(name: str, pack: Pack, missing: int) -> None:
    data = pack(riscv_image())[:-missing]
    assert problem(data) == (
        f"machine.kernel: vmlinux: truncated: its {name} data do not end by byte {len(data)}; {AGAIN}"
    )


@each_codec
def test_compressed_image_with_flipped_bits_is_damaged(name: str, pack: Pack) -> None:
    data = bytearray(pack(riscv_image()))
    data[len(data) // 2 : len(data) // 2 + 8] = b"\xff" * 8
    assert problem(bytes(data)).startswith(f"machine.kernel: vmlinux: damaged {name} data before byte ")


def test_gzip_wrong_checksum_is_damaged() -> None:
    data = bytearray(gzip_pack(riscv_image()))
    data[-5] ^= 1
    assert "damaged gzip data before byte" in problem(bytes(data))


@each_codec
def test_compressed_nothing_is_refused(name: str, pack: Pack) -> None:
    assert problem(pack(b"")) == f"machine.kernel: vmlinux: its {name} data hold nothing; give a riscv64 kernel"


@each_codec
def test_compressed_larger_than_ram_is_refused(name: str, pack: Pack) -> None:
    assert problem(pack(bytes(16 * MIB + 1))) == (
        f"machine.kernel: vmlinux: its {name} data hold more than 16MiB, all of RAM; raise machine.memory"
    )


def test_compressed_larger_than_any_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "MAX_UNPACKED", 2 * MIB)
    assert problem(gzip_pack(bytes(2 * MIB + 1))) == (
        "machine.kernel: vmlinux: its gzip data hold more than 2MiB; give a riscv64 kernel"
    )


@each_codec
def test_unpack_bomb_is_stopped_at_the_limit(name: str, pack: Pack) -> None:
    bomb = source(pack(bytes(32 * MIB)))
    tracemalloc.start()
    with pytest.raises(ConfigError):
        compressed.unpack(bomb, limit=2 * MIB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * MIB


@each_codec
def test_compressed_twice_is_refused(name: str, pack: Pack) -> None:
    assert problem(pack(gzip_pack(riscv_image()))) == ("machine.kernel: vmlinux: is compressed twice; unpack it first")


def test_zstd_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zstd_pack(riscv_image())
    monkeypatch.delattr("backports.zstd")
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    assert problem(data) == (
        "machine.kernel: vmlinux: is compressed with zstd, for which the Python package backports.zstd is missing; "
        "install asyncemu with its extra: asyncemu[zstd]"
    )
