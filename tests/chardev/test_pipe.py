# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev.chardev import WRITE_BUFFER
from asyncemu.chardev.pipe import Pipe
from asyncemu.errors import ChardevError
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import Recorder, read_exactly


async def opened(make_chardev: MakeChardev, recorder: Recorder) -> Pipe:
    chardev: Pipe = make_chardev("pipe", path="p")
    chardev.attach(recorder)
    await chardev.open()
    return chardev


@pytest.fixture
def fifos(tmp_path: Path) -> tuple[Path, Path]:
    """p.in and p.out."""
    paths = tmp_path / "p.in", tmp_path / "p.out"
    for path in paths:
        os.mkfifo(path)
    return paths


async def test_pipe_two_fifos_exchange_bytes(make_chardev: MakeChardev, fifos: tuple[Path, Path]) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)
    there, back = os.open(fifos[0], os.O_WRONLY), os.open(fifos[1], os.O_RDONLY)

    os.write(there, b"in")
    await recorder.until_received(b"in")
    chardev.write(b"out")
    received = await read_exactly(back, 3)
    os.close(there)
    os.close(back)

    assert received == b"out"
    assert recorder.events == [ChardevEvent.OPENED]


async def test_pipe_writer_leaves_the_next_one_is_read(make_chardev: MakeChardev, fifos: tuple[Path, Path]) -> None:
    recorder = Recorder()
    await opened(make_chardev, recorder)
    fifos[0].write_bytes(b"one ")
    await recorder.until_received(b"one ")

    fifos[0].write_bytes(b"two")

    await recorder.until_received(b"one two")


async def test_pipe_nobody_reads_front_end_waits(make_chardev: MakeChardev, fifos: tuple[Path, Path]) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)
    sent = bytes(1 << 20)
    taken = chardev.write(sent)
    held = chardev.unsent
    back = os.open(fifos[1], os.O_RDONLY | os.O_NONBLOCK)

    received = await read_exactly(back, taken)
    os.close(back)

    assert taken < len(sent)
    assert 0 < held <= WRITE_BUFFER
    assert len(received) == taken
    assert recorder.writable_calls == 1


async def test_pipe_one_fifo_is_both_ways(make_chardev: MakeChardev, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)

    chardev.write(b"echo")

    await recorder.until_received(b"echo")


async def test_pipe_nothing_there_is_one_line(make_chardev: MakeChardev, tmp_path: Path) -> None:
    chardev = make_chardev("pipe", path="p")

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    path = tmp_path / "p"
    assert str(caught.value) == f"console: open {path}.in and {path}.out, or {path}: No such file or directory"


async def test_pipe_in_without_out_is_one_line(make_chardev: MakeChardev, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.in")
    chardev = make_chardev("pipe", path="p")
    before = {path.name for path in Path("/proc/self/fd").iterdir()}

    with pytest.raises(ChardevError, match="No such file or directory"):
        await chardev.open()

    assert {path.name for path in Path("/proc/self/fd").iterdir()} == before


async def test_pipe_directory_is_one_line(make_chardev: MakeChardev, tmp_path: Path) -> None:
    (tmp_path / "p.in").mkdir()
    chardev = make_chardev("pipe", path="p")

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    assert str(caught.value) == f"console: open {tmp_path / 'p.in'}: Is a directory"


async def test_pipe_path_is_directory_is_one_line(make_chardev: MakeChardev, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    chardev = make_chardev("pipe", path="p")

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    assert str(caught.value) == f"console: open {tmp_path / 'p'}: Is a directory"
