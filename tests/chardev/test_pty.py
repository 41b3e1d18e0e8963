# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import termios
from pathlib import Path

import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev.pty import Pty
from asyncemu.errors import ChardevError
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import Recorder, read_exactly


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pty, "look_interval", 0.001)


async def opened(make_chardev: MakeChardev, recorder: Recorder, **keys: object) -> Pty:
    chardev: Pty = make_chardev("pty", **keys)
    chardev.attach(recorder)
    await chardev.open()
    return chardev


async def test_pty_terminal_exchanges_bytes_unchanged(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)
    terminal = os.open(chardev.path, os.O_RDWR | os.O_NOCTTY)
    await recorder.until_event(ChardevEvent.OPENED)

    os.write(terminal, b"\x03in\r\n")
    await recorder.until_received(b"\x03in\r\n")
    chardev.write(b"out\r\n")
    received = await read_exactly(terminal, 5)
    os.close(terminal)

    assert received == b"out\r\n"


async def test_pty_is_raw(make_chardev: MakeChardev) -> None:
    chardev = await opened(make_chardev, Recorder())
    terminal = os.open(chardev.path, os.O_RDWR | os.O_NOCTTY)

    flags = termios.tcgetattr(terminal)[3]
    os.close(terminal)

    assert not flags & (termios.ECHO | termios.ICANON | termios.ISIG)


async def test_pty_nobody_there_discards(make_chardev: MakeChardev) -> None:
    chardev = await opened(make_chardev, Recorder())

    assert (chardev.write(b"x" * 1_000_000), chardev.unsent) == (1_000_000, 0)


async def test_pty_opened_is_noticed_by_write(make_chardev: MakeChardev, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pty, "look_interval", 3600)
    chardev = await opened(make_chardev, Recorder())
    terminal = os.open(chardev.path, os.O_RDWR | os.O_NOCTTY)

    chardev.write(b"hello")
    received = await read_exactly(terminal, 5)
    os.close(terminal)

    assert received == b"hello"


async def test_pty_terminal_left_is_told_closed(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)
    terminal = os.open(chardev.path, os.O_RDWR | os.O_NOCTTY)
    await recorder.until_event(ChardevEvent.OPENED)

    os.close(terminal)

    await recorder.until_event(ChardevEvent.CLOSED)


async def test_pty_terminal_left_while_front_end_takes_nothing_is_told_closed(make_chardev: MakeChardev) -> None:
    recorder = Recorder(limit=0)
    chardev = await opened(make_chardev, recorder)
    terminal = os.open(chardev.path, os.O_RDWR | os.O_NOCTTY)
    await recorder.until_event(ChardevEvent.OPENED)

    os.close(terminal)

    await recorder.until_event(ChardevEvent.CLOSED)


async def test_pty_second_visit_works(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)
    os.close(os.open(chardev.path, os.O_RDWR | os.O_NOCTTY))

    terminal = os.open(chardev.path, os.O_RDWR | os.O_NOCTTY)
    os.write(terminal, b"again")
    await recorder.until_received(b"again")
    os.close(terminal)


async def test_pty_slow_terminal_bounds_buffer_and_loses_nothing(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)
    terminal = os.open(chardev.path, os.O_RDWR | os.O_NOCTTY)
    await recorder.until_event(ChardevEvent.OPENED)
    sent = bytes(range(256)) * 4096

    taken = chardev.write(sent)
    received = await read_exactly(terminal, taken)
    await recorder.until(lambda: recorder.writable_calls == 1)
    os.close(terminal)

    assert taken < len(sent)
    assert received == sent[:taken]


async def test_pty_slow_terminal_leaves_buffer_is_dropped(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)
    terminal = os.open(chardev.path, os.O_RDWR | os.O_NOCTTY)
    await recorder.until_event(ChardevEvent.OPENED)
    chardev.write(b"x" * 1_000_000)

    os.close(terminal)
    await recorder.until_event(ChardevEvent.CLOSED)

    assert chardev.unsent == 0


async def test_pty_link_leads_to_terminal_and_goes_at_close(make_chardev: MakeChardev, tmp_path: Path) -> None:
    chardev = await opened(make_chardev, Recorder(), path="tty")
    target = str((tmp_path / "tty").readlink())

    await chardev.close()

    assert target == chardev.path
    assert not (tmp_path / "tty").is_symlink()


async def test_pty_link_left_behind_is_replaced(make_chardev: MakeChardev, tmp_path: Path) -> None:
    (tmp_path / "tty").symlink_to("/dev/pts/99999")

    chardev = await opened(make_chardev, Recorder(), path="tty")

    assert str((tmp_path / "tty").readlink()) == chardev.path


async def test_pty_link_over_other_file_is_one_line(make_chardev: MakeChardev, tmp_path: Path) -> None:
    (tmp_path / "tty").write_text("precious")
    chardev = make_chardev("pty", path="tty")

    with pytest.raises(ChardevError, match=rf"^console: link {tmp_path}/tty to /dev/pts/\d+: File exists$"):
        await chardev.open()
