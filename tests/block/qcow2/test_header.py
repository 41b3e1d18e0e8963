# SPDX-License-Identifier: GPL-2.0-or-later
"""Header, extensions and names: from bytes and back, and what is said about wrong ones."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.qcow2 import features
from asyncemu.block.qcow2.errors import BadImage
from asyncemu.block.qcow2.extensions import (
    BITMAPS_EXTENSION,
    BitmapsExtension,
    EncryptionExtension,
    Extensions,
    extensions_bytes,
    parse_extensions,
)
from asyncemu.block.qcow2.features import feature_name_table, unsupported
from asyncemu.block.qcow2.header import LENGTH, Header, check_for_use, header_bytes, parse_header
from asyncemu.block.qcow2.header_area import HeaderArea, area_bytes, read_header_area
from tests.block.qcow2.conftest import qemu_create, qemu_img

#: What QEMU writes for an image of 1 MiB.
GOOD = Header(
    size=1 << 20,
    l1_size=1,
    l1_table_offset=0x30000,
    refcount_table_offset=0x10000,
    refcount_table_clusters=1,
)

headers = st.builds(
    Header,
    version=st.just(3),
    backing_file_offset=st.integers(0, 512),
    backing_file_size=st.integers(0, (1 << 32) - 1),
    header_length=st.just(LENGTH),
    unknown_fields=st.just(b""),
    cluster_bits=st.integers(9, 21),
    size=st.integers(0, (1 << 64) - 1),
    crypt_method=st.integers(0, (1 << 32) - 1),
    l1_size=st.integers(0, (1 << 32) - 1),
    l1_table_offset=st.integers(0, (1 << 64) - 1),
    refcount_table_offset=st.integers(0, (1 << 64) - 1),
    refcount_table_clusters=st.integers(0, (1 << 32) - 1),
    nb_snapshots=st.integers(0, (1 << 32) - 1),
    snapshots_offset=st.integers(0, (1 << 64) - 1),
    incompatible_features=st.integers(0, (1 << 64) - 1),
    compatible_features=st.integers(0, (1 << 64) - 1),
    autoclear_features=st.integers(0, (1 << 64) - 1),
    refcount_order=st.integers(0, (1 << 32) - 1),
    compression_type=st.integers(0, 255),
)


def parsed(data: bytes) -> Header:
    return parse_header(data.ljust(4096, b"\0"))


def with_field(offset: int, form: str, value: int) -> bytes:
    data = bytearray(header_bytes(GOOD))
    struct.pack_into(form, data, offset, value)
    return bytes(data)


def used(header: Header) -> None:
    check_for_use(header)


async def area_of(data: bytes) -> HeaderArea:
    async def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length].ljust(length, b"\0")

    return await read_header_area(read)


@given(headers)
def test_header_any_fields_survive_the_way_to_bytes_and_back(header: Header) -> None:
    assert parsed(header_bytes(header)) == header


@given(st.binary(max_size=200))
def test_parse_header_any_bytes_give_a_header_or_bad_image(data: bytes) -> None:
    try:
        found = parsed(b"QFI\xfb" + data)
    except BadImage:
        return
    assert found.version in (2, 3)


@pytest.mark.parametrize(
    ("data", "offset", "problem", "number"),
    [
        (b"QFI\xfa", 0, "Image is not in qcow2 format", errno.EINVAL),
        (with_field(4, ">I", 1), 4, "Unsupported qcow2 version 1", errno.ENOTSUP),
        (with_field(4, ">I", 4), 4, "Unsupported qcow2 version 4", errno.ENOTSUP),
        (with_field(20, ">I", 8), 20, "Unsupported cluster size: 2^8", errno.EINVAL),
        (with_field(20, ">I", 22), 20, "Unsupported cluster size: 2^22", errno.EINVAL),
        (with_field(100, ">I", 103), 100, "qcow2 header too short", errno.EINVAL),
        (with_field(100, ">I", 65537), 100, "qcow2 header exceeds cluster size", errno.EINVAL),
        (with_field(8, ">Q", 65537), 8, "Invalid backing file offset", errno.EINVAL),
    ],
)
def test_parse_header_wrong_field_is_named_with_its_place(data: bytes, offset: int, problem: str, number: int) -> None:
    with pytest.raises(BadImage) as bad:
        parsed(data)

    assert (bad.value.offset, bad.value.problem, bad.value.errno) == (offset, problem, number)


@pytest.mark.parametrize(
    ("header", "offset", "problem"),
    [
        (GOOD.replaced(compression_type=2), 104, "qcow2: unknown compression type: 2"),
        (
            GOOD.replaced(compression_type=1),
            104,
            "qcow2: Compression type incompatible feature bit must be set",
        ),
        (
            GOOD.replaced(incompatible_features=features.COMPRESSION),
            104,
            "qcow2: Compression type incompatible feature bit must not be set",
        ),
        (
            GOOD.replaced(incompatible_features=features.EXTENDED_L2, cluster_bits=13),
            20,
            "Unsupported subcluster size: 256",
        ),
        (GOOD.replaced(refcount_order=7), 96, "Reference count entry width too large; may not exceed 64 bits"),
        (GOOD.replaced(crypt_method=3), 32, "Unsupported encryption method 3"),
        (GOOD.replaced(refcount_table_clusters=0), 56, "Image does not contain a reference count table"),
        (GOOD.replaced(refcount_table_clusters=129), 48, "Reference count table too large"),
        (GOOD.replaced(refcount_table_offset=0x10200), 48, "Reference count table offset invalid"),
        (GOOD.replaced(refcount_table_offset=1 << 63), 48, "Reference count table offset invalid"),
        (GOOD.replaced(nb_snapshots=65537), 60, "Snapshot table too large"),
        (GOOD.replaced(nb_snapshots=1, snapshots_offset=512), 60, "Snapshot table offset invalid"),
        (GOOD.replaced(l1_size=(4 << 20) + 1), 36, "Active L1 table too large"),
        (GOOD.replaced(l1_table_offset=1), 36, "Active L1 table offset invalid"),
        (GOOD.replaced(size=(1 << 64) - 1), 24, "Image is too big"),
        (GOOD.replaced(size=1 << 40), 36, "L1 table is too small"),
    ],
)
def test_check_for_use_wrong_value_is_named_with_its_place(header: Header, offset: int, problem: str) -> None:
    with pytest.raises(BadImage) as bad:
        used(header)

    assert (bad.value.offset, bad.value.problem) == (offset, problem)


def test_check_for_use_while_repairing_leaves_tables_to_the_check() -> None:
    check_for_use(GOOD.replaced(refcount_table_clusters=0, nb_snapshots=1 << 20), repairing=True)


async def test_header_area_of_qemus_image_is_written_as_it_was(tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", "1M", backing_file="some base", backing_fmt="raw", lazy_refcounts=True)
    first = path.read_bytes()[:65536]

    area = await area_of(first)

    assert area.backing_file == "some base"
    assert area.extensions.backing_format == "raw"
    assert area_bytes(area)[1] == first


async def test_header_area_version_2_is_written_as_it_was(tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", "1M", compat="0.10", backing_file="b", backing_fmt="qcow2")
    first = path.read_bytes()[:65536]

    assert area_bytes(await area_of(first))[1] == first


async def test_header_area_unknown_fields_and_extensions_are_kept() -> None:
    header = GOOD.replaced(unknown_fields=b"12345678", compatible_features=1 << 40)
    extensions = Extensions(unknown=((0x1234, b"abc"), (0x5678, b"")))

    written = await area_of(area_bytes(HeaderArea(header, extensions))[1])

    assert written.header.unknown_fields == b"12345678"
    assert written.header.header_length == LENGTH + 8
    assert written.header.compatible_features == 1 << 40
    assert written.extensions.unknown == ((0x1234, b"abc"), (0x5678, b""))


async def test_header_area_with_all_extensions_survives() -> None:
    header = GOOD.replaced(crypt_method=2, incompatible_features=features.DATA_FILE, autoclear_features=1)
    extensions = Extensions(
        backing_format="raw",
        data_file="données",
        encryption=EncryptionExtension(0x50000, 1 << 20),
        bitmaps=BitmapsExtension(2, 64, 0x60000),
    )

    written = await area_of(area_bytes(HeaderArea(header, extensions, "base"))[1])

    assert written.extensions == extensions._replace(feature_names=feature_name_table())
    assert written.backing_file == "base"


async def test_header_area_longer_than_the_first_read_is_read_as_a_whole() -> None:
    extensions = Extensions(unknown=((1, bytes(6000)), (2, b"last")))

    written = await area_of(area_bytes(HeaderArea(GOOD, extensions, "base"))[1])

    assert written.extensions.unknown[1] == (2, b"last")
    assert written.backing_file == "base"


def test_area_bytes_name_without_room_is_enospc() -> None:
    header = GOOD.replaced(cluster_bits=9)

    with pytest.raises(OSError, match="No space left") as refused:
        area_bytes(HeaderArea(header, Extensions(), "n" * 400))

    assert refused.value.errno == errno.ENOSPC


async def test_read_header_area_backing_name_past_the_cluster_is_too_long() -> None:
    data = bytearray(header_bytes(GOOD.replaced(backing_file_offset=65000, backing_file_size=600)))

    with pytest.raises(BadImage, match="offset 16: Backing file name too long"):
        await area_of(bytes(data))


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (struct.pack(">II", 99, 70000), "Header extension too large"),
        (extension(0xE2792ACA, bytes(16)), "ERROR: ext_backing_format: len=16 too large (>=16)"),
        (
            extension(0x0537BE77, bytes(16)),
            "CRYPTO header extension only expected with LUKS encryption method",
        ),
        (extension(BITMAPS_EXTENSION, bytes(23)), "bitmaps_ext: Invalid extension length"),
        (extension(BITMAPS_EXTENSION, bytes(24)), "found bitmaps extension with zero bitmaps"),
        (extension(BITMAPS_EXTENSION, struct.pack(">IIQQ", 1, 1, 0, 0)), "bitmaps_ext: Reserved field is not zero"),
        (
            extension(BITMAPS_EXTENSION, struct.pack(">IIQQ", 65536, 0, 0, 0)),
            "bitmaps_ext: Image has 65536 bitmaps, exceeding the QEMU supported maximum of 65535",
        ),
        (
            extension(BITMAPS_EXTENSION, struct.pack(">IIQQ", 1, 0, 0, 512)),
            "bitmaps_ext: invalid bitmap directory offset",
        ),
        (
            extension(BITMAPS_EXTENSION, struct.pack(">IIQQ", 1, 0, 1 << 40, 0)),
            f"bitmaps_ext: bitmap directory size ({1 << 40}) exceeds the maximum supported size (67107840)",
        ),
    ],
)
def test_parse_extensions_wrong_one_is_named_with_its_place(data: bytes, problem: str) -> None:
    header = GOOD.replaced(autoclear_features=features.BITMAPS)

    with pytest.raises(BadImage) as bad:
        parse_extensions((bytes(LENGTH) + data).ljust(65536, b"\0"), header)

    assert (bad.value.offset, bad.value.problem) == (LENGTH, problem)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (bytes(15), "CRYPTO header extension size 15, but expected size 16"),
        (
            struct.pack(">QQ", 512, 0),
            "Encryption header offset '512' is not a multiple of cluster size '65536'",
        ),
    ],
)
def test_parse_extensions_wrong_luks_pointer_is_named(data: bytes, problem: str) -> None:
    area = (bytes(LENGTH) + extension(0x0537BE77, data)).ljust(65536, b"\0")

    with pytest.raises(BadImage) as bad:
        parse_extensions(area, GOOD.replaced(crypt_method=2))

    assert bad.value.problem == problem


@given(st.binary(max_size=300), st.sampled_from([112, 104, 120]))
def test_parse_extensions_any_bytes_give_extensions_or_bad_image(data: bytes, length: int) -> None:
    header = GOOD.replaced(header_length=length, autoclear_features=1)
    try:
        found = parse_extensions((bytes(length) + data).ljust(65536, b"\0"), header)
    except BadImage:
        return
    assert found is not None


def test_parse_extensions_without_the_autoclear_bit_has_stale_bitmaps() -> None:
    area = (bytes(LENGTH) + extension(BITMAPS_EXTENSION, bytes(24))).ljust(65536, b"\0")

    found = parse_extensions(area, GOOD)

    assert found is not None
    assert found.bitmaps is None
    assert found.stale_bitmaps


def test_extensions_bytes_leaves_feature_names_out_of_small_clusters() -> None:
    assert feature_name_table() not in extensions_bytes(Extensions(), GOOD.replaced(cluster_bits=12))
    assert feature_name_table() in extensions_bytes(Extensions(), GOOD.replaced(cluster_bits=13))


def test_unsupported_features_are_named_by_the_images_table() -> None:
    table = struct.pack(">BB46s", 0, 5, b"time travel") + struct.pack(">BB46s", 1, 6, b"compatible")

    assert unsupported(1 << 5 | 1 << 6, table) == "time travel, Unknown incompatible feature: 40"


async def test_read_header_area_unknown_feature_says_what_qemu_img_says(tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", "1M")
    data = bytearray(path.read_bytes())
    struct.pack_into(">Q", data, 72, 1 << 63 | 1 << 7)
    path.write_bytes(data)

    with pytest.raises(BadImage) as bad:
        await area_of(bytes(data))
    with pytest.raises(AssertionError) as theirs:
        qemu_img("info", path)

    assert bad.value.problem in str(theirs.value)
    assert bad.value.problem == "Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000080"
