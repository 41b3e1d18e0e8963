# SPDX-License-Identifier: GPL-2.0-or-later
"""Persistent bitmaps: listed, kept, and marked before they become wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block import BlockGraph
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.qcow2.bitmap_directory import (
    AUTO,
    IN_USE,
    Bitmap,
    bitmap_directory_bytes,
    changes_to_mark,
    parse_bitmap_directory,
)
from asyncemu.block.qcow2.errors import BadImage
from tests.block.qcow2.conftest import (
    header_field,
    image_of,
    open_image,
    opened,
    patch,
    qemu_create,
    qemu_img,
    qemu_io,
    qemu_says_clean,
    write,
)

SIZE = 1 << 20
BITMAPS = 1

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
bitmaps = st.lists(
    st.builds(
        Bitmap,
        table_offset=st.integers(0, 1 << 40).map(lambda cluster: cluster << 16),
        table_size=st.integers(0, 1 << 20),
        flags=st.integers(0, 7),
        type=st.just(1),
        granularity_bits=st.integers(9, 31),
        name=names,
        extra_data=st.binary(max_size=20),
    ),
    max_size=5,
)


@given(bitmaps)
def test_bitmap_directory_survives_the_way_to_bytes_and_back(directory: list[Bitmap]) -> None:
    data = bitmap_directory_bytes(directory)

    assert parse_bitmap_directory(data, 0, len(directory), 65536) == directory


@given(st.binary(max_size=200), st.integers(0, 5))
def test_parse_bitmap_directory_any_bytes_give_bitmaps_or_bad_image(data: bytes, count: int) -> None:
    try:
        found = parse_bitmap_directory(data, 4096, count, 512)
    except BadImage:
        return
    assert len(found) == count


@given(bitmaps, st.booleans())
def test_changes_to_mark_set_in_use_where_it_must_be_and_nothing_else(directory: list[Bitmap], all_: bool) -> None:
    data = bytearray(bitmap_directory_bytes(directory))

    for position, change in changes_to_mark(directory, all_of_them=all_):
        data[position : position + len(change)] = change

    marked = [
        bitmap._replace(flags=bitmap.flags | IN_USE) if all_ or bitmap.flags & AUTO else bitmap for bitmap in directory
    ]
    assert parse_bitmap_directory(data, 0, len(directory), 65536) == marked


@pytest.mark.parametrize(
    ("count", "problem"),
    [
        (1, "More bitmaps found than specified in header extension"),
        (3, "Less bitmaps found than specified in header extension"),
    ],
)
def test_parse_bitmap_directory_wrong_number_is_named_in_qemus_words(count: int, problem: str) -> None:
    directory = [Bitmap(0, 1, 0, 1, 16, name) for name in ("a", "b")]

    with pytest.raises(BadImage) as bad:
        parse_bitmap_directory(bitmap_directory_bytes(directory), 0x50000, count, 65536)

    assert bad.value.problem == problem


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An image with a bitmap that follows the disk, and one that does not."""
    path = qemu_create(tmp_path / "image", SIZE)
    qemu_img("bitmap", "--add", path, "follows")
    qemu_img("bitmap", "--add", "--disable", "-g", "32k", path, "stays")
    return path


def flags(path: Path) -> dict[str, list[str]]:
    """By QEMU."""
    import json

    info = json.loads(qemu_img("info", "--output=json", path))
    return {bitmap["name"]: bitmap["flags"] for bitmap in info["format-specific"]["data"]["bitmaps"]}


async def test_image_info_lists_bitmaps_as_qemu_does(path: Path, graph: BlockGraph) -> None:
    node = await open_image(graph, path, OpenMode(no_io=True), read_only=True)

    info = await node.driver.image_info()

    assert info.format_specific is not None
    specific = info.format_specific["data"]
    assert isinstance(specific, dict)
    assert specific["bitmaps"] == [
        {"flags": ["auto"], "name": "follows", "granularity": 65536},
        {"flags": [], "name": "stays", "granularity": 32768},
    ]


async def test_bitmaps_of_an_image_that_is_not_changed_stay(path: Path, graph: BlockGraph) -> None:
    before = path.read_bytes()
    async with opened(graph, path) as node:
        await node.pread(0, SIZE)

    assert path.read_bytes() == before


async def test_first_write_marks_the_bitmap_that_follows_the_disk(path: Path, graph: BlockGraph) -> None:
    async with opened(graph, path) as node:
        await write(node, 0, b"x")
        file = image_of(node).file
        assert header_field(path, 88, ">Q") == BITMAPS
        assert file.size

    assert flags(path) == {"follows": ["in-use", "auto"], "stays": []}
    assert qemu_says_clean(path)


async def test_marked_bitmap_can_be_removed_by_qemu_and_the_other_used(path: Path, graph: BlockGraph) -> None:
    async with opened(graph, path) as node:
        await write(node, 0, b"x")

    qemu_img("bitmap", "--remove", path, "follows")
    qemu_img("bitmap", "--enable", path, "stays")

    assert flags(path) == {"stays": ["auto"]}


async def test_damaged_directory_makes_all_bitmaps_inconsistent_the_specs_way(
    path: Path, graph: BlockGraph, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(graph, path, read_only=True) as node:
        extension = image_of(node).area.extensions.bitmaps
    assert extension is not None
    patch(path, extension.directory_offset + 18, b"\xff\xff")

    async with opened(graph, path) as node:
        await write(node, 0, b"x")

    assert header_field(path, 88, ">Q") == 0
    assert "Broken bitmap directory; all bitmaps are now considered inconsistent" in caplog.text
    qemu_io(path, "read -P 120 0 1")


async def test_bitmaps_without_their_bit_are_told_of(
    path: Path, graph: BlockGraph, caplog: pytest.LogCaptureFixture
) -> None:
    patch(path, 88, bytes(8))

    async with opened(graph, path):
        pass

    assert "a program lacking bitmap support modified this file" in caplog.text
