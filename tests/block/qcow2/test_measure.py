# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure: the bytes that qemu-img says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.backend import BlockBackend
from asyncemu.block.qcow2.creation_options import Qcow2Creation
from asyncemu.block.qcow2.driver import Qcow2Driver
from asyncemu.block.types import Measurement
from asyncemu.errors import ConfigError
from tests.block.qcow2.conftest import creation_text, open_image, qemu_create, qemu_img, qemu_io

OPTIONS: list[dict[str, Any]] = [
    {},
    {"cluster_size": 512},
    {"cluster_size": 2 << 20},
    {"refcount_bits": 1},
    {"cluster_size": 4096, "refcount_bits": 64},
    {"extended_l2": True},
    {"preallocation": "metadata"},
    {"preallocation": "full"},
    {"compat": "0.10"},
]


def qemu_measures(*words: str | Path, **options: Any) -> Measurement:
    chosen = ["-o", creation_text(options)] if options else []
    told = json.loads(qemu_img("measure", "--output=json", "-O", "qcow2", *chosen, *words))
    return Measurement(told["required"], told["fully-allocated"], told.get("bitmaps"))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("size", [0, 1, 1 << 20, (5 << 30) + 12345])
async def test_measure_of_a_size_is_qemus(options: dict[str, Any], size: int) -> None:
    ours = await Qcow2Driver.measure(Qcow2Creation(size=size, **options), None)
    assert ours == qemu_measures("--size", str(size), **options)


@pytest.mark.parametrize("options", [*OPTIONS[:5], {"preallocation": "falloc"}])
async def test_measure_of_an_image_is_qemus(graph: BlockGraph, tmp_path: Path, options: dict[str, Any]) -> None:
    path = qemu_create(tmp_path / "image", 20 << 20, cluster_size=4096)
    qemu_io(path, "write -P 1 1000k 300k", "write -z 5M 1M", "write -c -P 2 8M 64k", "write -P 3 19M 512")
    node = await open_image(graph, path, read_only=True)
    backend = BlockBackend("source", graph.context)
    await backend.insert(node)

    ours = await Qcow2Driver.measure(Qcow2Creation(**options), backend)
    await backend.remove()

    assert ours == qemu_measures(path, **options)


@pytest.mark.parametrize("options", [{}, {"cluster_size": 512}, {"compat": "0.10"}])
async def test_measure_of_an_image_with_bitmaps_is_qemus(
    graph: BlockGraph, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = qemu_create(tmp_path / "image", (64 << 20) + 512, cluster_size=4096)
    qemu_img("bitmap", "--add", path, "one")
    qemu_img("bitmap", "--add", "--disable", "-g", 512, path, "a longer name")
    node = await open_image(graph, path, read_only=True)
    backend = BlockBackend("source", graph.context)
    await backend.insert(node)

    ours = await Qcow2Driver.measure(Qcow2Creation(**options), backend)
    await backend.remove()

    assert ours == qemu_measures(path, **options)


async def test_measure_of_a_version_2_image_has_no_bitmaps(graph: BlockGraph, tmp_path: Path) -> None:
    path = qemu_create(tmp_path / "image", 1 << 20, compat="0.10")
    node = await open_image(graph, path, read_only=True)
    backend = BlockBackend("source", graph.context)
    await backend.insert(node)

    ours = await Qcow2Driver.measure(Qcow2Creation(), backend)
    await backend.remove()

    assert ours == qemu_measures(path)


async def test_measure_of_too_large_a_disk_is_refused() -> None:
    with pytest.raises(ConfigError, match="too large"):
        await Qcow2Driver.measure(Qcow2Creation(size=1 << 50, cluster_size=512), None)
