# SPDX-License-Identifier: GPL-2.0-or-later
"""open, close and the program's options for an image, against qemu-io."""

from __future__ import annotations

import pytest

from tests.cli.io.conftest import Exercise

JSON = 'json:{"driver":"raw","file":{"driver":"file","filename":"disk.raw"}}'

WHOLE_PROGRAM = [
    ("--image-opts", "driver=raw,file.filename=disk.raw,nocache.direct", "-c", "length"),
    ("--image-opts", "id=1x,driver=raw,file.filename=disk.raw", "-c", "length"),
    ("-c", "open -o id=x disk.raw"),
    ("-c", "open -o driver=raw -o nofoo disk.raw"),
    ("-c", "open -o driver=raw,no disk.raw"),
    ("-c", "open -o file.filename=disk.raw,driver=raw disk.raw"),
    ("-c", "open -o file.foo=x,driver=raw disk.raw"),
    ("-f", "raw", "disk.raw", "-c", "reopen -o id=x"),
    ("-f", "raw", "disk.raw", "-c", "reopen -o foo=x -o discard=unmap"),
    ("disk.raw", "-c", "length"),
    ("-r", "disk.raw", "-c", "length"),
    ("-f", "raw", "missing", "-c", "length"),
    ("-f", "bogus", "disk.raw", "-c", "length"),
    ("-f", "qcow2", "disk.raw", "-c", "length"),
    ("-f", "raw", "-f", "qcow2", "disk.raw"),
    ("-t", "bogus", "disk.raw"),
    ("-d", "bogus", "disk.raw"),
    ("-i", "bogus", "disk.raw"),
    ("--image-opts", "driver=raw,file.filename=disk.raw", "-c", "length"),
    ("--image-opts", "-f", "raw", "driver=raw,file.filename=disk.raw", "-c", "length"),
    ("--image-opts", "driver=raw,file.driver=file,file.filename=missing"),
    ("--image-opts", "bogus=1", "-c", "length"),
    ("--image-opts", "", "-c", "length"),
    ("--image-opts", "bogus", "-c", "length"),
    ("--image-opts", "disk.raw", "-c", "length"),
    ("--image-opts", "driver=raw", "-c", "length"),
    ("", "-c", "length"),
    ("json:x", "-c", "length"),
    (JSON, "-c", "length", "-c", "info"),
    ("-n", "-t", "writeback", "-f", "raw", "disk.raw", "-c", "length"),
    ("-C", "-f", "raw", "disk.raw", "-c", "length"),
    ("-C", "-r", "-f", "raw", "disk.raw", "-c", "length"),
    ("-k", "-f", "raw", "disk.raw", "-c", "length"),
    ("-k", "-t", "none", "-f", "raw", "disk.raw", "-c", "read 0 4k"),
    ("-i", "threads", "-f", "raw", "disk.raw", "-c", "read 0 4k"),
    ("-U", "-f", "raw", "disk.raw", "-c", "length"),
    ("-U", "-r", "-f", "raw", "disk.raw", "-c", "length"),
    ("-U", "-r", "--image-opts", "force-share=on,driver=raw,file.filename=disk.raw", "-c", "length"),
    ("--object", "secret,id=sec0,data=abc", "-f", "raw", "disk.raw", "-c", "length"),
    ("--object", "bogus,id=x", "-f", "raw", "disk.raw", "-c", "length"),
    ("--", "-f"),
]


@pytest.mark.parametrize("words", WHOLE_PROGRAM, ids=[" ".join(words) for words in WHOLE_PROGRAM])
def test_options_as_qemu_io(raw: Exercise, words: tuple[str, ...]) -> None:
    ours, theirs = raw.both(*words)
    assert ours == theirs


OPENINGS = (
    "length",
    "close",
    "open",
    "open -o driver=raw disk.raw",
    "open disk.raw",
    "length",
    "close",
    "close",
    "open missing",
    "open -x",
    "open a b",
    "open -o",
    "open -r",
    "open -o x=y",
    "open -o driver=raw disk.raw b",
    "open -o driver=bogus disk.raw",
    "open -o driver=qcow2 disk.raw",
    "open -o bogus=1,driver=raw disk.raw",
    "open -r -o driver=raw disk.raw",
    "write 0 1",
    "c",
    "open -n -o driver=raw disk.raw",
    "read 1 1",
    "close",
    "open -t bogus disk.raw",
    "open -d bogus disk.raw",
    "open -i bogus disk.raw",
    "open -k -o driver=raw disk.raw",
    "open -C -o driver=raw disk.raw",
    "close",
    "open -U disk.raw",
    "open -rU -o driver=raw disk.raw",
    "close",
    "open -r -o read-only=off,driver=raw disk.raw",
    "write 0 1",
    "close",
    "open -o read-only=on,driver=raw disk.raw",
    "open -o driver=raw,file.driver=file,file.filename=disk.raw",
    "length",
    "close",
    "open json:{}",
    f"open {JSON}",
    "info",
    "q",
    "length",
)


def test_open_and_close_as_qemu_io(raw: Exercise) -> None:
    ours, theirs = raw.both(*(word for command in OPENINGS for word in ("-c", command)))
    assert ours == theirs


def test_guessed_raw_is_warned_of_and_qcow2_is_found(qcow2: Exercise) -> None:
    qcow2.write("disk.raw", bytes(512))
    ours, theirs = qcow2.both("-c", "open disk.raw", "-c", "close", "-c", "open disk.qcow2", "-c", "info")
    assert "probing guessed raw" in ours.errors
    assert ours == theirs


def test_snapshot_leaves_the_image_alone(raw: Exercise) -> None:
    ours, theirs = raw.commands(
        "write -P 1 0 1k", "read -P 1 0 1k", "read -P 0 1k 1k", "info", "length", image=("-s", "-f", "raw", "disk.raw")
    )
    assert ours == theirs
    assert (raw.our_directory / "disk.raw").read_bytes() == bytes(1 << 20)


def test_snapshot_that_is_read_only_as_qemu_io(raw: Exercise) -> None:
    ours, theirs = raw.commands("write 0 1", "read 0 1", image=("-s", "-r", "-f", "raw", "disk.raw"))
    assert ours == theirs


def test_snapshot_leaves_no_temporary_file(raw: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = raw.our_directory / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    result = raw.ours("-s", "-f", "raw", "disk.raw", "-c", "write 0 1k", "-c", "flush")
    assert result.status == 0
    assert list(temporary.iterdir()) == []


def test_snapshot_without_a_place_for_it_says_so(raw: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    result = raw.ours("-s", "-f", "raw", "disk.raw", "-c", "length")
    assert result.status == 1
    assert result.errors.startswith(
        "qemu-io: can't open device disk.raw: Could not open temporary file '/nonexistent/vl."
    )
    assert result.errors.endswith("': No such file or directory\n")


def test_copy_on_read_keeps_what_was_read(qcow2: Exercise) -> None:
    for run in (qcow2.ours, qcow2.theirs):
        run("-f", "qcow2", "disk.qcow2", "-c", "write 0 512k")
    qcow2.create("top.qcow2", "-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", "top.qcow2")
    ours, theirs = qcow2.commands("read -P 0xcd 64k 4k", "map", image=("-C", "top.qcow2"))
    assert "64 KiB (0x10000) bytes     allocated at offset 64 KiB" in ours.output
    assert ours == theirs


@pytest.mark.parametrize(
    "words", [("disk.raw",), ("-c", "open disk.raw"), ("-c", "open -o driver=raw disk.raw")], ids=" ".join
)
def test_image_in_use_is_refused_with_the_hint(raw: Exercise, words: tuple[str, ...]) -> None:
    with raw.in_use("disk.raw"):
        ours, theirs = raw.both("-c", "length", *words)
    assert ours == theirs
    assert "Is another process using the image [disk.raw]?\n" in ours.errors
