# SPDX-License-Identifier: GPL-2.0-or-later
"""New images: byte for byte those of qemu-img, and its messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph
from asyncemu.errors import ConfigError
from tests.block.qcow2.conftest import create, creation_text, qemu_create, qemu_img, qemu_says_clean

MIB = 1 << 20

LAYOUTS: list[tuple[int, dict[str, Any]]] = [
    (0, {}),
    (MIB, {}),
    (1 << 40, {}),
    (1 << 30, {"cluster_size": 512}),
    (1 << 30, {"cluster_size": 512, "refcount_bits": 64}),
    (MIB, {"cluster_size": 4096}),
    (1 << 40, {"cluster_size": 2 * MIB}),
    *((MIB, {"refcount_bits": bits}) for bits in (1, 2, 4, 8, 16, 32, 64)),
    (1 << 40, {"compat": "0.10"}),
    (MIB, {"compat": "v2"}),
    (MIB, {"extended_l2": True}),
    (MIB, {"lazy_refcounts": True}),
    (MIB, {"compression_type": "zstd"}),
    (MIB, {"backing_file": "base.raw", "backing_fmt": "raw"}),
    (MIB, {"backing_file": "base.raw", "backing_fmt": "raw", "cluster_size": 512}),
    (0, {"preallocation": "falloc"}),
    (MIB, {"preallocation": "metadata"}),
    (3 * MIB, {"preallocation": "metadata", "cluster_size": 512}),
    (MIB, {"preallocation": "falloc"}),
    (3 * MIB, {"preallocation": "falloc", "cluster_size": 512}),
    (MIB, {"preallocation": "falloc", "refcount_bits": 1}),
    (MIB, {"preallocation": "falloc", "extended_l2": True}),
    (3 * MIB, {"preallocation": "full", "cluster_size": 1024, "refcount_bits": 64}),
]


@pytest.mark.parametrize(("size", "options"), LAYOUTS, ids=lambda value: str(value))
async def test_create_any_options_is_what_qemu_img_makes(
    size: int, options: dict[str, Any], graph: BlockGraph, tmp_path: Path
) -> None:
    ours = await create(graph, tmp_path / "ours", size, **options)
    theirs = qemu_create(tmp_path / "theirs", size, **options)

    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("raw", [False, True])
async def test_create_data_file_is_what_qemu_img_makes(raw: bool, graph: BlockGraph, tmp_path: Path) -> None:
    data = tmp_path / "data"
    options = {"data_file": str(data), "data_file_raw": raw}
    theirs = qemu_create(tmp_path / "theirs", MIB, **options)
    their_data = data.stat().st_size
    data.unlink()

    ours = await create(graph, tmp_path / "ours", MIB, **options)

    assert ours.read_bytes() == theirs.read_bytes()
    assert data.stat().st_size == their_data == MIB


async def test_create_size_of_half_a_sector_rounds_up(graph: BlockGraph, tmp_path: Path) -> None:
    path = await create(graph, tmp_path / "image", 100)

    assert '"virtual-size": 512' in qemu_img("info", "--output=json", path)
    assert qemu_says_clean(path)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cluster_size": 1000}, "Cluster size must be a power of two between 512 and 2048k"),
    ({"cluster_size": 4 * MIB}, "Cluster size must be a power of two between 512 and 2048k"),
    (
        {"extended_l2": True, "cluster_size": 8192},
        "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes",
    ),
    (
        {"extended_l2": True, "compat": "0.10"},
        "Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or greater)",
    ),
    ({"compat": "0.11"}, "Parameter 'version' does not accept value '0.11'"),
    ({"refcount_bits": 3}, "Refcount width must be a power of two and may not exceed 64 bits"),
    ({"refcount_bits": 0}, "Refcount width must be a power of two and may not exceed 64 bits"),
    ({"refcount_bits": 128}, "Refcount width must be a power of two and may not exceed 64 bits"),
    (
        {"refcount_bits": 8, "compat": "v2"},
        "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)",
    ),
    (
        {"lazy_refcounts": True, "compat": "v2"},
        "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)",
    ),
    ({"data_file_raw": True}, "data-file-raw requires data-file"),
    (
        {"data_file": "data", "compat": "v2"},
        "External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)",
    ),
    (
        {"data_file": "data", "data_file_raw": True, "backing_file": "base", "backing_fmt": "raw"},
        "Backing file and data-file-raw cannot be used at the same time",
    ),
    (
        {"compression_type": "zstd", "compat": "v2"},
        "Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or "
        "greater)",
    ),
    ({"compression_type": "lz4"}, "Parameter 'compression-type' does not accept value 'lz4'"),
    ({"preallocation": "some"}, "Parameter 'preallocation' does not accept value 'some'"),
    (
        {"preallocation": "metadata", "backing_file": "base", "backing_fmt": "raw"},
        "Backing file and preallocation can only be used at the same time if extended_l2 is on",
    ),
    ({"backing_fmt": "raw"}, "Backing format cannot be used without backing file"),
    ({"encryption": True}, "Encrypted images are not supported"),
    ({"encrypt_format": "luks"}, "Encrypted images are not supported"),
]


@pytest.mark.parametrize(("options", "problem"), REFUSED, ids=lambda value: str(value)[:40])
async def test_create_wrong_options_are_refused_in_qemus_words(
    options: dict[str, Any], problem: str, graph: BlockGraph, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        await create(graph, tmp_path / "image", MIB, **options)

    assert refused.value.problem == problem


@pytest.mark.parametrize("options", [options for options, _ in REFUSED if "encrypt" not in str(options)], ids=str)
def test_create_wrong_options_message_is_qemu_imgs(options: dict[str, Any], tmp_path: Path) -> None:
    problem = next(text for each, text in REFUSED if each == options)

    with pytest.raises(AssertionError) as refused:
        qemu_img("create", "-u", "-f", "qcow2", "-o", creation_text(options), tmp_path / "image", str(MIB))

    assert problem in str(refused.value)


async def test_create_size_beyond_l1_limit_is_refused_as_too_large(graph: BlockGraph, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"too large for file format 'qcow2' \(try using a larger cluster size\)"):
        await create(graph, tmp_path / "image", 200 << 30, cluster_size=512)


async def test_create_backing_name_that_does_not_fit_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Could not assign backing file 'b+' with format 'raw': No space left"):
        await create(graph, tmp_path / "image", MIB, cluster_size=512, backing_file="b" * 500, backing_fmt="raw")


async def test_create_backing_name_of_1024_bytes_is_refused(graph: BlockGraph, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Invalid argument"):
        await create(graph, tmp_path / "image", MIB, backing_file="b" * 1024, backing_fmt="raw")
