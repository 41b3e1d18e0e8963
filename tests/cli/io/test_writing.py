# SPDX-License-Identifier: GPL-2.0-or-later
"""write, writev: what they write, print and refuse, against qemu-io."""

from __future__ import annotations

import pytest

from tests.cli.io.conftest import Exercise

REFUSED = (
    "write",
    "write 0",
    "write -q -q 0",
    "write 0 1 2",
    "write -Z 1 1",
    "write x 1",
    "write 0 x",
    "write -- 1 -z",
    "write 8E 1",
    "write 7E 1",
    "write 1M 1",
    "write 0 3G",
    "write -n -z 0 3G",
    "write -P x 0 1",
    "write -P x -P 1 0 1",
    "write -z -P 1 0 1k",
    "write -z -s f 0 1k",
    "write -s f -P 1 0 1k",
    "write -u 0 1k",
    "write -n 0 1k",
    "write -n -u 0 1",
    "write -b -z 0 1k",
    "write -b -f -z 0 1",
    "write -f -b -n 0 1",
    "write -c -f 0 1k",
    "write -b 0 1k",
    "write -b -c 0 1k",
    "write -c 0 1k",
    "write -c 0 100",
    "write -b 1 512",
    "write -s empty 0 10",
    "write -s missing 0 10",
    "write -s missing x 10",
    "write -s . 0 10",
    "write -s pattern 0 0",
    "writev",
    "writev 0",
    "writev -Z 0 1",
    "writev x 1",
    "writev 0 1k x",
    "writev 0 1G 1G",
    "writev 0 2G 2G",
    "writev -P x 0 1",
    "writev 1M 1k",
)

WRITTEN = (
    "write 512 1k",
    "write -P 0x41 100k 4k",
    "write -P 0101 3 5",
    "write -s pattern 200k 10",
    "write -s pattern 300k 5000",
    "write -s pattern 400k 2",
    "write -z 512 100",
    "write -z -u 128k 4k",
    "write -z -n 132k 4k",
    "write -z -c 136k 4k",
    "write -f 140k 4k",
    "write -z -f 144k 4k",
    "write -C 148k 1",
    "write -q 149k 1",
    "write -p 150k 1",
    "write 0 -z 1k",
    "writev 500k 1k 1k 2k",
    "writev -P 7 600k 3 5 7",
    "writev -f 700k 512",
    "writev -C 701k 512",
    "writev -q 702k 512",
    "writev 703k 0 1",
    "write 1023k 1k",
)


def test_refused_writes_as_qemu_io(raw: Exercise) -> None:
    raw.write("empty", b"")
    raw.write("pattern", b"abc")
    ours, theirs = raw.commands(*REFUSED)
    assert ours == theirs
    assert raw.same_files("disk.raw")


def test_writes_as_qemu_io(raw: Exercise) -> None:
    raw.write("pattern", b"abc")
    ours, theirs = raw.commands(*WRITTEN)
    assert ours == theirs
    assert raw.same_files("disk.raw")


@pytest.mark.parametrize("cache", ["writethrough", "directsync", "none", "unsafe", "writeback"])
def test_write_in_cache_mode_as_qemu_io(raw: Exercise, cache: str) -> None:
    ours, theirs = raw.commands("write -P 9 1 4k", "flush", image=("-t", cache, "-f", "raw", "disk.raw"))
    assert ours == theirs
    assert raw.same_files("disk.raw")


def test_misaligned_buffers_past_the_page_cache_as_qemu_io(raw: Exercise) -> None:
    image = ("-m", "-n", "-f", "raw", "disk.raw")
    ours, theirs = raw.commands("write -P 9 512 4k", "read -P 9 512 4k", "writev -P 8 8k 1k 512", image=image)
    assert ours == theirs
    assert raw.same_files("disk.raw")


def test_write_to_read_only_image_as_qemu_io(raw: Exercise) -> None:
    ours, theirs = raw.commands(
        "write",
        "write 0",
        "write -Z 0",
        "write 0 1k",
        "writev 0 1k",
        "aio_write 0 1k",
        "aio_write -i 0",
        "discard 0 1k",
        "truncate 1k",
        image=("-r", "-f", "raw", "disk.raw"),
    )
    assert ours == theirs


def test_qcow2_writes_as_qemu_io(qcow2: Exercise) -> None:
    ours, theirs = qcow2.commands(
        "write -P 1 0 128k",
        "write -c -P 2 128k 64k",
        "write -c 192k 64k",
        "write -c 100 64k",
        "write -c 64k 60k",
        "write -z 0 64k",
        "write -z -u 64k 4k",
        "write -b 0 1k",
        "read -b -P 0xcd 0 1k",
        "read -P 2 128k 64k",
        image=("-f", "qcow2", "disk.qcow2"),
    )
    assert ours == theirs
    assert qcow2.same_images("disk.qcow2")


FLUSH_FAILS = (
    "driver=qcow2,file.driver=blkdebug,file.inject-error.0.event=none,file.inject-error.0.iotype=flush,"
    "file.image.driver=file,file.image.filename=disk.qcow2"
)


def test_each_write_is_flushed_unless_asked_otherwise(qcow2: Exercise) -> None:
    through = qcow2.ours("--image-opts", FLUSH_FAILS, "-c", "write 0 1k")
    assert (through.status, through.output) == (1, "write failed: Input/output error\n")
    back = qcow2.ours("-t", "writeback", "--image-opts", FLUSH_FAILS, "-c", "write -q 0 1k", "-c", "flush")
    assert (back.status, back.output) == (1, "")


def test_image_that_ends_within_a_sector_as_qemu_io(exercise: Exercise) -> None:
    exercise.write("odd.raw", bytes(range(250)) * 4)
    ours, theirs = exercise.commands(
        "length",
        "map",
        "alloc 1000 24",
        "read -v 990 34",
        "readv -P 0 1000 8 16",
        "read 1000 25",
        "discard 1000 24",
        "write 1010 4",
        "aio_write -P 7 1020 4",
        "aio_flush",
        "write -z 1022 2",
        "write 1024 1",
        "length",
        image=("-f", "raw", "odd.raw"),
    )
    assert ours == theirs
    assert exercise.same_files("odd.raw")
