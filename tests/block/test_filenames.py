# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of images that are relative to another image. QEMU: path_combine, bdrv_dirname."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.filenames import (
    full_backing_filename,
    has_protocol,
    image_identity,
    path_combine,
    plain_filename,
    storage_of,
)
from asyncemu.errors import ConfigError
from tests.block.drivers import add


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nbd:host:1", True),
        ("file:x", True),
        ("json:{}", True),
        (":x", True),
        ("a/b:c", False),
        ("a", False),
        ("", False),
    ],
)
def test_has_protocol_a_colon_before_any_slash(name: str, expected: bool) -> None:
    assert has_protocol(name) is expected


@pytest.mark.parametrize(
    ("base", "name", "expected"),
    [
        ("top.qcow2", "base.raw", "base.raw"),
        ("dir/top.qcow2", "base.raw", "dir/base.raw"),
        ("dir/top.qcow2", "../base.raw", "dir/../base.raw"),
        ("/dir/top.qcow2", "sub/base.raw", "/dir/sub/base.raw"),
        ("dir/top.qcow2", "/base.raw", "/base.raw"),
        ("dir/top.qcow2", "nbd:host:1", "nbd:host:1"),
        ("file:top.qcow2", "base.raw", "file:base.raw"),
        ("file:dir/top.qcow2", "base.raw", "file:dir/base.raw"),
        ("http://host/dir/top", "base", "http://host/dir/base"),
        ("dir/top.qcow2", "", ""),
        ("a:b/top", "a/b:c", "a:b/a/b:c"),
    ],
)
def test_path_combine_is_beside_the_base(base: str, name: str, expected: str) -> None:
    assert path_combine(base, name) == expected


@pytest.fixture
async def graph(graph: BlockGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlockGraph:
    """Of a command line in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    graph.directory = None
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "disk.img").write_bytes(bytes(512))
    return graph


async def test_full_name_is_beside_the_file_below_all_drivers(graph: BlockGraph) -> None:
    file = {"driver": "file", "filename": "dir/disk.img", "node-name": "file"}
    top = await add(graph, "pass", "top", file={"driver": "raw", "file": file})
    assert storage_of(top) is graph.nodes["file"]
    assert plain_filename(storage_of(top)) == "dir/disk.img"
    assert full_backing_filename(top, "base.img") == "dir/base.img"
    assert full_backing_filename(top, "/base.img") == "/base.img"


async def test_full_name_of_what_has_no_directory_is_refused(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "disk")
    assert full_backing_filename(node, "/base.img") == "/base.img"
    with pytest.raises(ConfigError, match="Cannot generate a base directory for memory nodes"):
        full_backing_filename(node, "base.img")


async def test_identity_is_that_of_the_file_whatever_its_name(graph: BlockGraph) -> None:
    Path("link").symlink_to("dir/disk.img")
    Path("other").write_bytes(bytes(512))
    one, same, other = [
        await add(graph, "file", name, filename=filename, read_only=True)
        for name, filename in (("one", "dir/../dir/disk.img"), ("same", "link"), ("other", "other"))
    ]
    assert image_identity(one) == image_identity(same)
    assert image_identity(one) != image_identity(other)


async def test_identity_of_what_has_no_name_is_the_node(graph: BlockGraph) -> None:
    one, other = await add(graph, "memory", "one"), await add(graph, "memory", "other")
    assert image_identity(one) == image_identity(one)
    assert image_identity(one) != image_identity(other)
