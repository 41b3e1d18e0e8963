# SPDX-License-Identifier: GPL-2.0-or-later
"""serial on a pseudo-terminal, which takes settings as a line does."""

from __future__ import annotations

import fcntl
import os
import termios
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev.serial import Serial
from asyncemu.errors import ChardevError, ConfigError
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import Messages, Recorder, read_exactly


class Line(NamedTuple):
    """The other end of the line, and the name of ours, which stays open beside."""

    peer: int
    path: str
    fd: int

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self.fd)


@pytest.fixture
def line() -> Iterator[Line]:
    peer, fd = os.openpty()
    yield Line(peer, os.ttyname(fd), fd)
    for each in (peer, fd):
        try:
            os.close(each)
        except OSError:
            pass  # a test did


async def opened(make_chardev: MakeChardev, recorder: Recorder, line: Line, **keys: object) -> Serial:
    chardev: Serial = make_chardev("serial", path=line.path, **keys)
    chardev.attach(recorder)
    await chardev.open()
    return chardev


async def test_serial_exchanges_bytes_unchanged(make_chardev: MakeChardev, line: Line) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder, line)

    os.write(line.peer, b"\x03\x11in\r\n\x00\xff")
    await recorder.until_received(b"\x03\x11in\r\n\x00\xff")
    chardev.write(b"out\r\n")

    assert await read_exactly(line.peer, 5) == b"out\r\n"


async def test_serial_default_is_115200_8n1(make_chardev: MakeChardev, line: Line) -> None:
    await opened(make_chardev, Recorder(), line)

    _, _, control, local, input_speed, output_speed, _ = line.settings()

    assert (input_speed, output_speed) == (termios.B115200, termios.B115200)
    assert control & termios.CSIZE == termios.CS8
    assert not control & (termios.PARENB | termios.CSTOPB | termios.CRTSCTS)
    assert control & termios.CLOCAL
    assert not local & (termios.ICANON | termios.ECHO | termios.ISIG)


@pytest.mark.parametrize(
    ("parity", "flags"), [("even", termios.PARENB), ("odd", termios.PARENB | termios.PARODD), ("none", 0)]
)
async def test_serial_parameters_are_set(make_chardev: MakeChardev, line: Line, parity: str, flags: int) -> None:
    await opened(make_chardev, Recorder(), line, speed=9600, parity=parity, stop_bits=2)

    control, speed = line.settings()[2], line.settings()[4]

    assert speed == termios.B9600
    assert control & termios.CSTOPB
    # A pseudo-terminal has no parity of its own, but Linux keeps PARODD.
    assert control & termios.PARODD == flags & termios.PARODD


async def test_serial_close_gives_the_settings_back(make_chardev: MakeChardev, line: Line) -> None:
    before = line.settings()
    chardev = await opened(make_chardev, Recorder(), line)
    during = line.settings()

    await chardev.close()

    assert during != before
    assert line.settings() == before


async def test_serial_line_pulled_out_is_told_closed(make_chardev: MakeChardev, line: Line) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder, line)

    os.close(line.peer)

    await recorder.until_event(ChardevEvent.CLOSED)
    assert not chardev.opened


async def test_serial_break_reaches_the_line(
    make_chardev: MakeChardev, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    chardev = await opened(make_chardev, Recorder(), line)
    requests: list[int] = []
    # A pseudo-terminal has no wire on which a break could be seen.
    monkeypatch.setattr(fcntl, "ioctl", lambda fd, request: requests.append(request))

    chardev.set_break(True)
    chardev.set_break(False)

    assert requests == [0x5427, 0x5428]  # TIOCSBRK, TIOCCBRK


async def test_serial_break_that_fails_is_one_line(
    make_chardev: MakeChardev, line: Line, monkeypatch: pytest.MonkeyPatch, messages: Messages
) -> None:
    chardev = await opened(make_chardev, Recorder(), line)

    def refuse(fd: int, request: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    chardev.set_break(True)

    assert messages.texts == ["console: make a break: Input/output error"]


async def test_serial_tty_is_its_other_name(make_chardev: MakeChardev, line: Line) -> None:
    chardev = make_chardev("tty", path=line.path)

    await chardev.open()

    assert chardev.opened


async def test_serial_missing_is_one_line(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("serial", path="/dev/no-such-line")

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    assert str(caught.value) == "console: open /dev/no-such-line: No such file or directory"


async def test_serial_other_device_is_one_line(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("serial", path="/dev/null")

    with pytest.raises(ConfigError) as caught:
        await chardev.open()

    problem = "/dev/null is no serial line: Inappropriate ioctl for device"
    assert str(caught.value) == f"chardev 'console': {problem}"


async def test_serial_speed_that_no_line_has_is_one_line(make_chardev: MakeChardev, line: Line) -> None:
    chardev = make_chardev("serial", path=line.path, speed=12345)

    with pytest.raises(ConfigError, match=r"^chardev 'console': no line runs at 12345 bits a second; 50, 75, .*115200"):
        await chardev.open()
