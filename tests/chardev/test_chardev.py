# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asyncemu.chardev import Chardev, ChardevEvent, ChardevOptions, MuxCommand
from asyncemu.chardev import chardev as chardev_module
from asyncemu.chardev.chardev import WRITE_BUFFER
from asyncemu.errors import ChardevError
from asyncemu.loop import AioContext
from asyncemu.plugin_options import validate
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import Recorder


class Slow(Chardev[ChardevOptions]):
    """Takes ``allowance`` bytes in all."""

    allowance = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sent = bytearray()

    def transmit(self, data: bytes) -> int:
        count = min(len(data), self.allowance)
        self.allowance -= count
        self.sent += data[:count]
        return count


def slow(context: AioContext, **keys: object) -> Slow:
    return Slow(validate(ChardevOptions, keys, "chardev[0]"), "console", context)


async def test_write_slow_outside_takes_buffer_and_no_more(context: AioContext) -> None:
    chardev = slow(context)

    assert chardev.write(b"x" * (WRITE_BUFFER + 100)) == WRITE_BUFFER
    assert chardev.write(b"y") == 0


async def test_write_refused_front_end_is_told_when_there_is_room(context: AioContext) -> None:
    chardev, recorder = slow(context), Recorder()
    chardev.attach(recorder)
    chardev.write(b"x" * (WRITE_BUFFER + 100))

    before = recorder.writable_calls
    chardev.allowance = WRITE_BUFFER
    emptied = chardev.flush_unsent()

    assert (before, emptied, recorder.writable_calls) == (0, True, 1)


async def test_write_fast_outside_takes_more_than_buffer(context: AioContext) -> None:
    chardev = slow(context)
    chardev.allowance = 3 * WRITE_BUFFER

    assert chardev.write(b"x" * (2 * WRITE_BUFFER + 1)) == 2 * WRITE_BUFFER + 1
    assert len(chardev.sent) == 2 * WRITE_BUFFER + 1


async def test_write_partly_sent_keeps_order(context: AioContext) -> None:
    chardev = slow(context)
    chardev.allowance = 2
    chardev.write(b"abc")
    chardev.write(b"def")

    chardev.allowance = 10
    chardev.flush_unsent()

    assert chardev.sent == b"abcdef"


async def test_attach_after_open_is_told_opened(context: AioContext) -> None:
    chardev, recorder = slow(context), Recorder()
    await chardev.open()

    chardev.attach(recorder)

    assert recorder.events == [ChardevEvent.OPENED]


async def test_attach_second_without_mux_is_refused(context: AioContext) -> None:
    chardev = slow(context)
    chardev.attach(Recorder())

    with pytest.raises(ValueError, match="mux = true"):
        chardev.attach(Recorder())


async def test_attach_after_detach_is_allowed(context: AioContext) -> None:
    chardev, second = slow(context), Recorder()
    chardev.attach(Recorder())
    chardev.detach()

    chardev.attach(second)

    assert chardev.frontend is second


async def test_close_waits_for_slow_outside(context: AioContext) -> None:
    chardev = slow(context)
    chardev.write(b"last words")

    closing = asyncio.ensure_future(chardev.close())
    await asyncio.sleep(0)
    chardev.allowance = 100
    chardev.flush_unsent()
    await closing

    assert chardev.sent == b"last words"


async def test_close_stuck_outside_ends(context: AioContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chardev_module, "CLOSE_TIMEOUT", 0.001)
    chardev = slow(context)
    chardev.write(b"nobody reads this")

    await chardev.close()

    assert chardev.unsent == 0


async def test_close_wakes_front_end_that_waits_for_room(context: AioContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chardev_module, "CLOSE_TIMEOUT", 0.001)
    chardev, recorder = slow(context), Recorder()
    chardev.attach(recorder)
    chardev.write(b"x" * (WRITE_BUFFER + 1))

    await chardev.close()

    assert recorder.writable_calls == 1


async def test_write_after_close_is_discarded(context: AioContext) -> None:
    chardev = slow(context)
    await chardev.close()

    assert (chardev.write(b"late"), chardev.unsent) == (4, 0)


async def test_command_quit_calls_machine(context: AioContext) -> None:
    chardev = slow(context, mux=True)
    commands: list[MuxCommand] = []
    chardev.on_command = commands.append

    chardev.deliver(b"\x01x")

    assert commands == [MuxCommand.QUIT]


async def test_command_without_machine_says_so(context: AioContext) -> None:
    chardev = slow(context, mux=True)
    chardev.allowance = 1000

    chardev.deliver(b"\x01x")

    assert chardev.sent == b"\r\nno machine is there to obey\r\n"


async def test_say_full_buffer_is_left_out(context: AioContext) -> None:
    chardev = slow(context, mux=True)
    chardev.write(b"x" * WRITE_BUFFER)

    chardev.deliver(b"\x01h" * 1000)

    assert chardev.unsent == WRITE_BUFFER


async def test_logfile_gets_output(make_chardev: MakeChardev, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"old")
    chardev = make_chardev("null", logfile="log")
    await chardev.open()

    chardev.write(b"new")

    assert (tmp_path / "log").read_bytes() == b"new"


async def test_logfile_logappend_keeps_old(make_chardev: MakeChardev, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"old")
    chardev = make_chardev("null", logfile="log", logappend=True)
    await chardev.open()

    chardev.write(b"new")

    assert (tmp_path / "log").read_bytes() == b"oldnew"


async def test_logfile_directory_missing_is_one_line(make_chardev: MakeChardev, tmp_path: Path) -> None:
    chardev = make_chardev("null", logfile="no/log")

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    assert str(caught.value) == f"console: open logfile {tmp_path}/no/log: No such file or directory"


async def test_logfile_full_disk_is_reported_once(make_chardev: MakeChardev, caplog: pytest.LogCaptureFixture) -> None:
    chardev = make_chardev("null", logfile="/dev/full")
    await chardev.open()

    taken = chardev.write(b"a") + chardev.write(b"b")

    assert taken == 2
    assert [record.getMessage() for record in caplog.records] == [
        "console: write logfile /dev/full; it ends here: No space left on device"
    ]
