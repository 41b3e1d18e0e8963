# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.errors import ChardevError
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import Recorder, read_exactly


async def test_file_write_replaces_old_content(make_chardev: MakeChardev, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old content")
    chardev = make_chardev("file", path="out")
    await chardev.open()

    chardev.write(b"new")

    assert (tmp_path / "out").read_bytes() == b"new"


async def test_file_append_keeps_old_content(make_chardev: MakeChardev, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old ")
    chardev = make_chardev("file", path="out", append=True)
    await chardev.open()

    chardev.write(b"new")

    assert (tmp_path / "out").read_bytes() == b"old new"


async def test_file_open_counts_as_there(make_chardev: MakeChardev) -> None:
    chardev, recorder = make_chardev("file", path="out"), Recorder()
    chardev.attach(recorder)

    await chardev.open()

    assert recorder.events == [ChardevEvent.OPENED]


async def test_file_input_path_is_read(make_chardev: MakeChardev, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"z" * 10_000)
    chardev, recorder = make_chardev("file", path="out", input_path="in"), Recorder()
    chardev.attach(recorder)

    await chardev.open()

    await recorder.until_received(b"z" * 10_000)


async def test_file_input_slow_front_end_gets_the_rest_later(make_chardev: MakeChardev, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"0123456789")
    chardev, recorder = make_chardev("file", path="out", input_path="in"), Recorder(limit=4)
    chardev.attach(recorder)
    await chardev.open()
    await recorder.until_received(b"0123")

    recorder.limit = 100
    chardev.accept_input()

    await recorder.until_received(b"0123456789")


async def test_file_fifo_slow_reader_gets_everything(make_chardev: MakeChardev, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    chardev, recorder = make_chardev("file", path="fifo"), Recorder()
    chardev.attach(recorder)
    await chardev.open()
    sent = os.urandom(1 << 18)  # more than the pipe and the buffer hold

    taken = chardev.write(sent)
    first = await read_exactly(reader, taken)
    await recorder.until(lambda: recorder.writable_calls == 1)
    os.close(reader)

    assert 0 < taken < len(sent)
    assert first == sent[:taken]


async def test_file_fifo_reader_gone_discards(
    make_chardev: MakeChardev, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    chardev = make_chardev("file", path="fifo")
    await chardev.open()
    os.close(reader)

    assert chardev.write(b"x" * 1_000_000) == 1_000_000
    assert [record.getMessage() for record in caplog.records] == [
        "console: write; further output is discarded: Broken pipe"
    ]


async def test_file_full_disk_discards_and_says_so_once(
    make_chardev: MakeChardev, caplog: pytest.LogCaptureFixture
) -> None:
    chardev = make_chardev("file", path="/dev/full")
    await chardev.open()

    taken = chardev.write(b"a") + chardev.write(b"b")

    assert taken == 2
    assert [record.getMessage() for record in caplog.records] == [
        "console: write; further output is discarded: No space left on device"
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"path": "no/out"}, "open {tmp}/no/out: No such file or directory"),
        ({"path": "."}, "open {tmp}: Is a directory"),
        ({"path": "fifo"}, "open {tmp}/fifo: No such device or address"),
        ({"path": "out", "input_path": "in"}, "open {tmp}/in: No such file or directory"),
    ],
)
async def test_file_open_failure_is_one_line(
    make_chardev: MakeChardev, tmp_path: Path, keys: dict[str, str], message: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    chardev = make_chardev("file", **keys)

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    assert str(caught.value) == "console: " + message.format(tmp=tmp_path)
