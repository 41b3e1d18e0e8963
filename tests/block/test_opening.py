# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening chains of images: who the backing file is, by which name it is found, loops and depth, errors."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.chain import chain
from asyncemu.block.open_mode import OpenMode
from asyncemu.errors import ConfigError
from tests.block.drivers import add, memory


@pytest.fixture
async def graph(graph: BlockGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlockGraph:
    """Of a command line: names are relative to the current directory, which is ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    graph.directory = None
    return graph


def qemu_img(*arguments: str) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, stdout=subprocess.DEVNULL)


def overlay(name: str, backing: str, form: str = "raw") -> None:
    qemu_img("create", "-q", "-f", "qcow2", "-u", "-b", backing, "-F", form, name, "1M")


def raw(name: str, data: bytes) -> None:
    Path(name).write_bytes(data.ljust(1 << 20, b"\0"))


async def names(graph: BlockGraph, image: str, **options: Any) -> list[str]:
    """The files of the chain whose top is ``image``."""
    node = await add(graph, "qcow2", "top", file={"driver": "file", "filename": image}, read_only=True, **options)
    files = [edge.node for each in chain(node) for edge in each.children if edge.name == "file"]
    return [each.driver.options.filename for each in files if each.driver.name == "file"]


# ---- names that images have for their backing files


async def test_backing_name_is_relative_to_the_overlay(graph: BlockGraph) -> None:
    Path("sub").mkdir()
    raw("base.raw", b"base")
    overlay("sub/top.qcow2", "../base.raw")
    assert await names(graph, "sub/top.qcow2") == ["sub/top.qcow2", "sub/../base.raw"]
    assert await graph.nodes["top"].pread(0, 4) == b"base"


async def test_backing_name_is_relative_to_the_overlay_and_not_to_the_configuration(
    graph: BlockGraph, tmp_path: Path
) -> None:
    Path("vm").mkdir()
    graph.directory = Path("vm")
    raw("vm/base.raw", b"base")
    overlay("vm/top.qcow2", "base.raw")
    assert await names(graph, "top.qcow2") == ["vm/top.qcow2", "vm/base.raw"]


async def test_backing_name_that_is_absolute_stays(graph: BlockGraph, tmp_path: Path) -> None:
    raw("base.raw", b"base")
    overlay("top.qcow2", str(tmp_path / "base.raw"))
    assert await names(graph, "top.qcow2") == ["top.qcow2", str(tmp_path / "base.raw")]


async def test_backing_name_with_a_protocol_stays(graph: BlockGraph) -> None:
    Path("sub").mkdir()
    raw("base.raw", b"base")
    overlay("sub/top.qcow2", "file:base.raw")
    assert await names(graph, "sub/top.qcow2") == ["sub/top.qcow2", "base.raw"]


async def test_backing_name_json_is_taken_as_options(graph: BlockGraph) -> None:
    Path("sub").mkdir()
    raw("base.raw", b"..base")
    table = {"driver": "raw", "offset": 2, "file": {"driver": "file", "filename": "base.raw"}}
    overlay("sub/top.qcow2", "json:" + json.dumps(table))
    assert await names(graph, "sub/top.qcow2") == ["sub/top.qcow2", "base.raw"]
    assert await graph.nodes["top"].pread(0, 4) == b"base"


async def test_backing_name_json_the_format_in_the_image_counts_more(graph: BlockGraph) -> None:
    overlay("base.qcow2", "nobody.raw")
    table = {"driver": "qcow2", "file": {"driver": "file", "filename": "base.qcow2"}}
    overlay("top.qcow2", "json:" + json.dumps(table), "raw")
    assert await names(graph, "top.qcow2") == ["top.qcow2", "base.qcow2"]
    assert [each.driver.name for each in chain(graph.nodes["top"])] == ["qcow2", "raw", "file"]


async def test_backing_format_not_named_is_looked_at(graph: BlockGraph) -> None:
    raw("base.raw", b"base")
    overlay("middle.qcow2", "base.raw")
    qemu_img("create", "-q", "-f", "qcow2", "-u", "-b", "middle.qcow2", "-F", "qcow2", "top.qcow2", "1M")
    _forget_the_format(Path("top.qcow2"))
    assert await names(graph, "top.qcow2") == ["top.qcow2", "middle.qcow2", "base.raw"]


def _forget_the_format(path: Path) -> None:
    """Rename the header extension with the backing format, which is optional, to one that nobody knows."""
    data = path.read_bytes()
    assert data.count(bytes.fromhex("e2792aca")) == 1
    path.write_bytes(data.replace(bytes.fromhex("e2792aca"), b"asem"))


async def test_backing_name_relative_to_what_has_no_directory_is_refused(graph: BlockGraph) -> None:
    with pytest.raises(ConfigError, match=r"^top\.backing: Cannot generate a base directory for memory-overlay nodes$"):
        await add(graph, "memory-overlay", "top", backing_file="base.raw", backing_format="raw")


async def test_backing_file_is_read_only_and_inherits(graph: BlockGraph) -> None:
    raw("base.raw", b"base")
    overlay("top.qcow2", "base.raw")
    file = {"driver": "file", "filename": "top.qcow2"}
    top = await add(graph, "qcow2", "top", file=file, cache={"no-flush": True}, discard="unmap")
    assert top.backing is not None
    base = top.backing.node
    assert [(each.read_only, each.no_flush, each.discards) for each in (top, base, base.children[0].node)] == [
        (False, True, True),
        (True, True, False),
        (True, True, True),
    ]


async def test_backing_files_go_with_their_overlay(graph: BlockGraph) -> None:
    raw("base.raw", b"base")
    overlay("middle.qcow2", "base.raw")
    overlay("top.qcow2", "middle.qcow2", "qcow2")
    await names(graph, "top.qcow2")
    await graph.remove(graph.nodes["top"])
    assert graph.nodes == {}


# ---- the option


@pytest.mark.parametrize("backing", ["", None])
async def test_backing_null_or_empty_is_none(graph: BlockGraph, backing: str | None) -> None:
    overlay("top.qcow2", "nobody.raw")
    assert await names(graph, "top.qcow2", backing=backing) == ["top.qcow2"]


async def test_backing_by_node_name_is_that_node(graph: BlockGraph) -> None:
    overlay("top.qcow2", "nobody.raw")
    base = await add(graph, "memory", "base")
    memory(base).data[:4] = b"base"
    await names(graph, "top.qcow2", backing="base")
    assert await graph.nodes["top"].pread(0, 4) == b"base"


async def test_backing_by_unknown_node_name_is_refused(graph: BlockGraph) -> None:
    overlay("top.qcow2", "nobody.raw")
    with pytest.raises(ConfigError, match=r"^top\.backing: Cannot find device='base' nor node-name='base'"):
        await names(graph, "top.qcow2", backing="base")


async def test_backing_table_is_used_instead_of_the_image(graph: BlockGraph) -> None:
    raw("other.raw", b"other")
    overlay("top.qcow2", "nobody.raw")
    table = {"driver": "raw", "file": {"driver": "file", "filename": "other.raw"}}
    assert await names(graph, "top.qcow2", backing=table) == ["top.qcow2", "other.raw"]


async def test_backing_table_without_storage_adds_to_what_the_image_names(graph: BlockGraph) -> None:
    overlay("base.qcow2", "nobody.raw")
    overlay("top.qcow2", "base.qcow2", "qcow2")
    table = {"driver": "raw", "node-name": "base"}
    assert await names(graph, "top.qcow2", backing=table) == ["top.qcow2", "base.qcow2"]
    assert graph.nodes["base"].driver.name == "raw"


async def test_backing_table_of_a_driver_without_files_is_complete(graph: BlockGraph) -> None:
    overlay("top.qcow2", "nobody.raw")
    await names(graph, "top.qcow2", backing={"driver": "null-co", "node-name": "base", "size": "1M"})
    assert [each.name for each in chain(graph.nodes["top"])] == ["top", "base"]


async def test_backing_is_not_opened_when_that_is_the_mode(graph: BlockGraph) -> None:
    overlay("top.qcow2", "nobody.raw")
    table = {"driver": "qcow2", "backing": {"driver": "raw"}, "file": {"driver": "file", "filename": "top.qcow2"}}
    node = await graph.add_table(table, "top", OpenMode(open_backing=False))
    assert (node.backing, node.driver.backing_file) == (None, "nobody.raw")


# ---- errors


async def test_backing_file_missing_says_what_was_tried(graph: BlockGraph) -> None:
    overlay("middle.qcow2", "nobody.raw")
    overlay("top.qcow2", "middle.qcow2", "qcow2")
    with pytest.raises(ConfigError) as caught:
        await names(graph, "top.qcow2")
    assert caught.value.where == "top.backing.backing.file.filename"
    assert caught.value.problem.startswith(
        "Could not open backing file: Could not open backing file: Could not open 'nobody.raw': No such file"
    )
    assert graph.nodes == {}


@pytest.mark.parametrize("backing", ["top.qcow2", "sub/../top.qcow2", "link.qcow2"])
async def test_chain_that_loops_is_refused(graph: BlockGraph, backing: str) -> None:
    Path("sub").mkdir()
    Path("link.qcow2").symlink_to("top.qcow2")
    overlay("middle.qcow2", backing, "qcow2")
    overlay("top.qcow2", "middle.qcow2", "qcow2")
    with pytest.raises(ConfigError, match=r"Backing file 'middle\.qcow2' creates an infinite loop"):
        await names(graph, "top.qcow2")
    assert graph.nodes == {}


async def test_image_that_backs_itself_is_refused(graph: BlockGraph) -> None:
    overlay("top.qcow2", "./top.qcow2", "qcow2")
    with pytest.raises(ConfigError, match=r"Backing file './top.qcow2' creates an infinite loop"):
        await names(graph, "top.qcow2")


async def test_node_name_that_a_backing_file_takes_first_is_refused(graph: BlockGraph) -> None:
    raw("base.raw", b"base")
    overlay("top.qcow2", "base.raw")
    with pytest.raises(ConfigError, match=r"Duplicate nodes with node-name='top'"):
        await names(graph, "top.qcow2", backing={"node-name": "top"})
    assert graph.nodes == {}


async def test_chain_that_is_too_long_is_refused(graph: BlockGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncemu.block.opening.MAX_CHAIN", 3)
    copies(3)
    assert await names(graph, "002.qcow2") == ["002.qcow2", "001.qcow2", "000.qcow2"]
    await graph.remove(graph.nodes["top"])
    with pytest.raises(ConfigError, match="More than 3 images are above each other"):
        await names(graph, "003.qcow2")


@pytest.mark.slow
async def test_chain_of_200_images_is_read_and_closed(graph: BlockGraph) -> None:
    copies(199)
    await names(graph, "199.qcow2")
    assert await graph.nodes["top"].pread(0, 4) == b"base"
    await graph.remove(graph.nodes["top"])
    assert graph.nodes == {}


def copies(count: int) -> None:
    """``count`` overlays, each over the one with the number before its own, down to 000.qcow2, which holds ``base``."""
    raw("base.raw", b"base")
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "base.raw", "000.qcow2")
    overlay("form", "nnn.qcow2", "qcow2")
    form = Path("form").read_bytes()
    assert form.count(b"nnn.qcow2") == 1
    for number in range(1, count + 1):
        Path(f"{number:03d}.qcow2").write_bytes(form.replace(b"nnn.qcow2", f"{number - 1:03d}.qcow2".encode()))
