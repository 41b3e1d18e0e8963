# SPDX-License-Identifier: GPL-2.0-or-later
"""read, readv: what they print, check and refuse, against qemu-io."""

from __future__ import annotations

import pytest

from tests.cli.io.conftest import Exercise

BAD_USAGE = (
    "read",
    "read 0",
    "read 0 1 2",
    "read -Z 0 1",
    "read -a 0 1",
    "read -P",
    "read -P 0",
    "read 1 2 -P",
    "read -s 2 0 4",
    "read -l 2 0 4",
    "readv",
    "readv 0",
    "readv -q 0",
    "readv -Z 0 1",
)

BAD_NUMBERS = (
    "read x 1",
    "read 0 x",
    "read 0 -1",
    "read -- 0 -1",
    "read 0 .5k",
    "read 0 0.5",
    "read 0 1e1",
    'read 0 "1"',
    "read 0 1kb",
    "read 0 1.5b",
    "read 0 3G",
    "read 0 2G",
    "read 0 1E",
    "read 8E 1",
    "read 0 9999999999999999999999",
    "read 1M 1",
    "read 7E 1",
    "read -b 0 512",
    "read -b 1 512",
    "read -b 512 1",
    "readv x 1",
    "readv 0 x",
    "readv 0 1k x",
    "readv 0 3G",
    "readv 0 1G 1G",
    "readv 1M 1k",
)

GOOD_NUMBERS = (
    "read 0 1.5k",
    "read 0x10 010",
    "read 0 1b",
    "read 0 0",
    "read 0 +5",
    "read 0 5.",
    "read 0 0x1k",
    "read 0 1K",
    "read 0 1m",
    "read 1023k 1K",
    "read -q -q 0 1",
    "read 0 -q 1",
    "read -C 0 1k",
    "read -p 0 1k",
    "readv 0 1k 512",
    "readv 0 0",
    "readv 0 513 1",
    "readv -C 0 1k 1k",
    "readv -q 0 1k 1k",
)

PATTERNS = (
    "read -P 0 0 4k",
    "read -P 1 0 4k",
    "read -P 1 -s 10 -l 5 0 4k",
    "read -P 1 -s 10 4k 4k",
    "read -P 1 -l 0 0 4",
    "read -P 0xcd 64k 4k",
    "read -P 0315 64k 4k",
    "read -P 205 64k 4k",
    "read -P 205 65535 4k",
    "read -P 300 0 1",
    "read -P -1 0 1",
    "read -P 1k 0 1",
    "read -P 08 0 1",
    "read -P -0 0 1",
    "read -P x 0 1",
    "read -P 1 -s 5 0 4",
    "read -P 1 -l 5 0 4",
    "read -P 1 -s 2 -l 3 0 4",
    "read -P 1 -l x 0 4",
    "read -P 1 -s x 0 4",
    "read -qP 1 0 4",
    "readv -P 1 0 1k 1k",
    "readv -P 0xcd 64k 1k 1k",
    "readv -vP 0xcd 64k 16 16",
)


@pytest.mark.parametrize("commands", [BAD_USAGE, BAD_NUMBERS, GOOD_NUMBERS, PATTERNS])
def test_read_as_qemu_io(raw: Exercise, commands: tuple[str, ...]) -> None:
    for directory in (raw.our_directory, raw.their_directory):
        with (directory / "disk.raw").open("r+b") as file:
            file.seek(64 << 10)
            file.write(b"\xcd" * (64 << 10))
    ours, theirs = raw.commands(*commands)
    assert ours == theirs


def test_dump_as_qemu_io(raw: Exercise) -> None:
    raw.write("disk.raw", bytes(range(256)) * 2)
    ours, theirs = raw.commands(
        "read -v 0 256", "read -v 5 3", "read -v 0 0", "read -qv 20 20", "read -Cv 0 4", "read -v 250 40"
    )
    assert "00000040:  40 41 42 43" in ours.output
    assert ours == theirs


def test_dump_behind_4_gib_has_long_offsets(exercise: Exercise) -> None:
    image = ("--image-opts", "driver=null-co,size=8G,read-zeroes=on")
    ours, theirs = exercise.commands("read -v 4294967280 20", "readv -v 4294967290 4 4", image=image)
    assert "100000000:" in ours.output
    assert ours == theirs


def test_large_read_takes_no_memory_when_it_is_refused(raw: Exercise) -> None:
    # 2 GiB past the end: refused before a byte of the buffer is touched.
    assert raw.ours("-f", "raw", "disk.raw", "-c", "read 1k 2147483136").output == "read failed: Input/output error\n"
