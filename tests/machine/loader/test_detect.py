# SPDX-License-Identifier: GPL-2.0-or-later
"""The door to all formats: what it takes for what, and that no file gets past it with anything but a ConfigError."""

from __future__ import annotations

import mmap
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncemu.errors import ConfigError
from asyncemu.machine.loader import LoadedImage, load_kernel
from asyncemu.machine.loader.placement import MIB

from .builders import (
    LOAD,
    RAM,
    efi_image,
    elf,
    gzip_pack,
    load,
    problem,
    program_header,
    riscv_image,
    zboot,
    zstd_pack,
)

DEBIAN_IMAGE = Path(__file__).parents[3] / "guests/cache/riscv64/Image"


def test_load_kernel_raw_binary_goes_to_load_address(tmp_path: Path) -> None:
    path = tmp_path / "program.bin"
    path.write_bytes(b"\x13\0\0\0" * 3)
    loaded = load_kernel(path, load_address=LOAD, memory=RAM)
    assert (loaded.entry, loaded.end, loaded.format) == (LOAD, LOAD + 12, "raw")


def test_load_kernel_file_is_mapped_not_read(tmp_path: Path) -> None:
    path = tmp_path / "Image"
    path.write_bytes(riscv_image())
    loaded = load_kernel(path, load_address=LOAD, memory=RAM)
    assert isinstance(loaded.segments[0].data.obj, mmap.mmap)


def test_load_kernel_error_names_the_key_that_was_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^machine\.firmware: .*/fw: no such file or directory; "):
        load_kernel(tmp_path / "fw", load_address=LOAD, memory=RAM, where="machine.firmware")


def test_raw_larger_than_ram_says_how_much_is_needed() -> None:
    assert problem(b"\x13" + bytes(14 * MIB)) == (
        "machine.kernel: vmlinux: the image needs 15MiB at 0x80200000, but RAM ends at 0x81000000; "
        "raise machine.memory to 17MiB or more"
    )


VALID = [
    riscv_image(size=300),
    efi_image(),
    elf(size=2048),
    elf(program_header(0x8000_0000, 0, 256, 512), program_header(0x8010_0000, 256, 64, 64), size=512),
    gzip_pack(riscv_image(size=300)),
    zstd_pack(elf(size=2048)),
    zboot(gzip_pack(riscv_image(size=300)), offset=64),
    zboot(zstd_pack(riscv_image(size=300)), b"zstd22", offset=64),
]
MAGICS = [
    b"MZ",
    b"MZ\0\0zimg",
    b"\x7fELF\x02\x01\x01",
    b"\x1f\x8b\x08\0",
    b"\x28\xb5\x2f\xfd",
    b"",
    bytes(48) + b"RISCV",
]


def load_or_refuse(data: bytes) -> LoadedImage | None:
    """Anything but a ConfigError of one line fails the test; so does more memory than a bomb is allowed to take."""
    tracemalloc.start()
    try:
        return load(data)
    except ConfigError as error:
        assert "\n" not in str(error)
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * len(RAM) + 2 * MIB


def assert_in_ram(loaded: LoadedImage | None) -> None:
    segments = loaded.segments if loaded else ()
    assert all(RAM.start <= segment.address and segment.end <= RAM.stop for segment in segments)
    assert all(len(segment.data) <= segment.memory_size for segment in segments)


@given(st.sampled_from(MAGICS), st.binary(max_size=400))
@example(b"", b"\0")
def test_parse_random_bytes_are_refused_or_stay_in_ram(magic: bytes, rest: bytes) -> None:
    assert_in_ram(load_or_refuse(magic + rest))


# Bytes and words that sit at the borders of what a field can hold.
patches = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.integers(0, 2**64 - 1).map(lambda value: value.to_bytes(8, "little")),
    st.sampled_from([b"\xff" * 8, b"\xff" * 4, b"\0" * 8, b"\xff\x7f", b"\0\0\0\x80"]),
)


@settings(max_examples=300)
@given(st.sampled_from(VALID), st.lists(st.tuples(st.integers(0, 200), patches), max_size=4), st.integers(0, 4096))
def test_parse_mutated_header_is_refused_or_stays_in_ram(
    valid: bytes, mutations: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(valid)
    for offset, patch in mutations:
        data[offset : offset + len(patch)] = patch
    assert_in_ram(load_or_refuse(bytes(data[: len(data) - cut % len(data)])))


@pytest.mark.guest
@pytest.mark.skipif(not DEBIAN_IMAGE.exists(), reason="needs a kernel that guests/ has fetched")
def test_load_kernel_debian_image_is_taken_whole() -> None:
    memory = range(0x8000_0000, 0x9000_0000)
    loaded = load_kernel(DEBIAN_IMAGE, load_address=LOAD, memory=memory)
    assert len(loaded.segments[0].data) == DEBIAN_IMAGE.stat().st_size


@pytest.mark.guest
@pytest.mark.skipif(not DEBIAN_IMAGE.exists(), reason="needs a kernel that guests/ has fetched")
def test_load_kernel_debian_image_one_byte_short_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "Image"
    path.write_bytes(DEBIAN_IMAGE.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="truncated: ends at byte"):
        load_kernel(path, load_address=LOAD, memory=range(0x8000_0000, 0x9000_0000))
