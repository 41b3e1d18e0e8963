# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import Recorder


async def test_null_write_takes_everything(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("null")
    await chardev.open()

    assert chardev.write(b"x" * 1_000_000) == 1_000_000


async def test_null_open_never_counts_as_there(make_chardev: MakeChardev) -> None:
    chardev, recorder = make_chardev("null"), Recorder()
    chardev.attach(recorder)

    await chardev.open()

    assert recorder.events == []
