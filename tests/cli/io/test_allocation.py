# SPDX-License-Identifier: GPL-2.0-or-later
"""discard, alloc, map, against qemu-io."""

from __future__ import annotations

from tests.cli.io.conftest import Exercise

LAYOUT = (
    "map",
    "write 64k 64k",
    "map",
    "alloc 0",
    "alloc 0 1M",
    "alloc 64k 64k",
    "alloc 64k 128k",
    "alloc 1k 100k",
    "write -z 256k 64k",
    "map",
    "discard 64k 64k",
    "map",
    "alloc 0 1M",
    "alloc 1M",
    "alloc 2M",
    "alloc 0 3G",
    "alloc 100 7",
    "alloc x",
    "alloc 0 x",
    "alloc -1",
    "alloc 0 -1",
    "alloc 1 2 3",
    "a 0",
    "map x",
)

DISCARDS = (
    "discard 0 1k",
    "discard -C 0 1k",
    "discard -q 0 1k",
    "d 0 64k",
    "discard 1M 1k",
    "discard x 1",
    "discard 0 x",
    "discard 0 3G",
    "discard 0",
    "discard -Z 0 1",
    "discard 0 1 2",
    "discard -q -q 0",
    "discard 0 0",
    "discard 1 1",
)


def test_allocation_of_raw_as_qemu_io(raw: Exercise) -> None:
    ours, theirs = raw.commands(*LAYOUT)
    assert ours == theirs


def test_allocation_of_qcow2_as_qemu_io(qcow2: Exercise) -> None:
    ours, theirs = qcow2.commands(*LAYOUT, image=("-f", "qcow2", "disk.qcow2"))
    assert ours == theirs


def test_allocation_of_an_overlay_is_its_own(qcow2: Exercise) -> None:
    for run in (qcow2.ours, qcow2.theirs):
        run("-f", "qcow2", "disk.qcow2", "-c", "write 0 512k")
    qcow2.create("top.qcow2", "-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", "top.qcow2")
    ours, theirs = qcow2.commands(
        "map", "write 512k 1k", "map", "alloc 0 1M", "read -P 0xcd 0 512k", image=("top.qcow2",)
    )
    assert "1 MiB (0x100000) bytes not allocated" in ours.output
    assert ours == theirs


def test_map_of_an_empty_image_prints_nothing(exercise: Exercise) -> None:
    exercise.write("empty.raw", b"")
    ours, theirs = exercise.commands("map", "alloc 0", "read 0 0", image=("-f", "raw", "empty.raw"))
    assert ours == theirs


def test_discards_as_qemu_io(raw: Exercise) -> None:
    raw.write("disk.raw", b"\x55" * (1 << 20))
    ours, theirs = raw.commands(*DISCARDS)
    assert ours == theirs


def test_discard_gives_storage_back_only_when_asked_to(raw: Exercise) -> None:
    raw.write("disk.raw", b"\x55" * (1 << 20))
    for mode in ("ignore", "unmap"):
        ours, theirs = raw.commands("discard 0 512k", "read -v 0 16", image=("-d", mode, "-f", "raw", "disk.raw"))
        assert ours == theirs
        assert raw.same_files("disk.raw")
    assert (raw.our_directory / "disk.raw").read_bytes()[: 512 << 10] == bytes(512 << 10)


def test_errors_of_a_node_as_qemu_io(raw: Exercise) -> None:
    failing = (
        "driver=blkdebug,inject-error.0.event=none,inject-error.0.iotype={},image.driver=file,image.filename=disk.raw"
    )
    for kind in ("read", "write", "write-zeroes", "discard", "block-status"):
        ours, theirs = raw.commands(
            "read 0 1k", "readv 0 1k", "aio_read 0 1k", "aio_flush", "write 0 1k", "writev 0 1k", "write -z 0 1k",
            "aio_write 0 1k", "aio_flush", "discard 0 1k", "alloc 0", "map", "flush", "length",
            image=("--image-opts", "-d", "unmap", failing.format(kind)),
        )  # fmt: skip
        assert ours == theirs
