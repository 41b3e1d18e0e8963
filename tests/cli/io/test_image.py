# SPDX-License-Identifier: GPL-2.0-or-later
"""length, info, truncate, flush, against qemu-io."""

from __future__ import annotations

import pytest

from tests.cli.io.conftest import Exercise

SIZES = (1, 511, 512, 1000, 1025, 1536, 1048575, 1572864, 1610612736, 1234567890123, 5000000000000000, 1 << 60)


@pytest.mark.parametrize("size", SIZES)
def test_length_as_qemu_io(exercise: Exercise, size: int) -> None:
    ours, theirs = exercise.commands("length", "l", image=("--image-opts", f"driver=null-co,size={size}"))
    assert ours == theirs


def test_truncate_of_raw_as_qemu_io(raw: Exercise) -> None:
    ours, theirs = raw.commands(
        "truncate 2M",
        "length",
        "truncate 1M",
        "truncate -m off 1M",
        "truncate -m falloc 2M",
        "truncate -m full 3M",
        "truncate -m metadata 4M",
        "truncate -m falloc 1M",
        "truncate -m bogus 1M",
        "truncate x",
        "truncate",
        "truncate 1M -m off",
        "truncate 1 2 3 4",
        "truncate -Z 1",
        "length",
        "truncate 100",
        "length",
        "info",
        "read 0 200",
    )
    assert ours == theirs
    assert raw.same_files("disk.raw")


def test_truncate_of_qcow2_as_qemu_io(qcow2: Exercise) -> None:
    ours, theirs = qcow2.commands(
        "truncate 2M",
        "length",
        "truncate 1M",
        "truncate -m falloc 2M",
        "truncate -m full 3M",
        "truncate -m metadata 4M",
        "truncate -m falloc 1M",
        "length",
        "truncate 100",
        "truncate 7E",
        "truncate 1M",
        "length",
        image=("-f", "qcow2", "disk.qcow2"),
    )
    assert ours == theirs
    assert qcow2.same_images("disk.qcow2")


def test_truncate_without_a_size_shows_the_synopsis(raw: Exercise) -> None:
    # qemu-io 7.2 crashes here.
    result = raw.ours("-f", "raw", "disk.raw", "-c", "truncate -m off")
    assert result.output == "truncate [-m prealloc_mode] off -- truncates the current file at the given offset\n"
    assert result.status == 1


@pytest.mark.parametrize(
    "image",
    [
        ("-f", "raw", "disk.raw"),
        ("-f", "file", "disk.raw"),
        ("--image-opts", "driver=null-co,size=1M"),
        ("--image-opts", "driver=blkdebug,image.driver=null-co,image.size=1M"),
        ("--image-opts", "driver=blkdebug,image.driver=file,image.filename=disk.raw"),
    ],
)
def test_info_as_qemu_io(raw: Exercise, image: tuple[str, ...]) -> None:
    ours, theirs = raw.commands("info", "map", "flush", "i", "f", image=image)
    assert ours == theirs


@pytest.mark.parametrize(
    "options",
    ["cluster_size=64k", "compat=0.10", "cluster_size=4k,lazy_refcounts=on", "extended_l2=on", "compression_type=zstd"],
)
def test_info_of_qcow2_as_qemu_io(exercise: Exercise, options: str) -> None:
    exercise.create("disk.qcow2", "-f", "qcow2", "-o", options, "disk.qcow2", "1M")
    ours, theirs = exercise.commands("info", image=("disk.qcow2",))
    assert ours == theirs


def test_truncate_of_what_has_a_fixed_size_as_qemu_io(exercise: Exercise) -> None:
    ours, theirs = exercise.commands("truncate 2M", image=("--image-opts", "driver=null-co,size=1M"))
    assert ours == theirs
