# SPDX-License-Identifier: GPL-2.0-or-later
"""ChardevSet; the messages are those that qemu-system-riscv64 7.2 gives to the same commands."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu.chardev import Chardev, ChardevEvent, MuxCommand
from asyncemu.chardev.pty import Pty
from asyncemu.chardev.registry import ChardevRefused, ChardevSet
from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext, IOThread, IOThreadParameters
from asyncemu.plugin_options import Configured, configure
from asyncemu.testing.memory_chardev import MemoryChardev
from tests.chardev.recorder import GUARD, Recorder


class Swappable(Recorder):
    """A front end whose back end can be replaced."""

    def __init__(self, limit: int = 1 << 20) -> None:
        super().__init__(limit)
        self.chardev: Chardev[Any] | None = None

    def chardev_changed(self, chardev: Chardev[Any]) -> None:
        self.chardev = chardev


def table(id: str, backend: str, **keys: object) -> Configured:
    return configure("chardev", {"id": id, "backend": backend, **keys}, "chardev[0]")


@pytest.fixture
async def chardevs(context: AioContext) -> AsyncIterator[ChardevSet]:
    chardevs = ChardevSet(context)
    yield chardevs
    await chardevs.close()


# ---- add and remove


async def test_add_is_open_and_in_the_mapping(chardevs: ChardevSet) -> None:
    chardev = await chardevs.add(table("a", "ringbuf"))

    assert chardev.opened
    assert dict(chardevs) == {"a": chardev}
    assert len(chardevs) == 1


async def test_add_name_taken_is_refused(chardevs: ChardevSet) -> None:
    await chardevs.add(table("a", "null"))

    with pytest.raises(ChardevRefused) as caught:
        await chardevs.add(table("a", "null"))

    assert str(caught.value) == "Chardev with id 'a' already exists"


async def test_add_name_of_one_that_is_being_opened_is_refused(chardevs: ChardevSet, tmp_path: Path) -> None:
    waits = table("a", "socket", host="127.0.0.1", port=0, server=True)
    opening = asyncio.ensure_future(chardevs.add(waits))
    await asyncio.sleep(0)

    with pytest.raises(ChardevRefused, match="already exists"):
        await chardevs.add(table("a", "null"))
    opening.cancel()
    await asyncio.wait([opening])

    assert (await chardevs.add(table("a", "null"))).id == "a"


async def test_add_that_fails_is_not_in_the_mapping(chardevs: ChardevSet) -> None:
    with pytest.raises(ConfigError) as caught:
        await chardevs.add(table("p", "pipe", path="/nonexistent/p"), "chardev[3]")

    problem = "p: open /nonexistent/p.in and /nonexistent/p.out, or /nonexistent/p: No such file or directory"
    assert str(caught.value) == f"chardev[3]: {problem}"
    assert "p" not in chardevs


async def test_add_hands_on_commands_and_credentials(chardevs: ChardevSet) -> None:
    asked: list[MuxCommand] = []
    chardevs.on_command = asked.append
    chardev = await chardevs.add(table("a", "ringbuf", mux=True))

    chardev.deliver(b"\x01s")

    assert asked == [MuxCommand.SAVE]
    assert chardev.tls_credentials is chardevs.tls_credentials


async def test_add_in_an_iothread_lives_there(context: AioContext, chardevs: ChardevSet) -> None:
    iothread = IOThread(context, "io0", IOThreadParameters())
    await iothread.start()
    try:
        chardev = await chardevs.add(table("r", "ringbuf"), context=iothread.aio_context)
        await chardevs.ringbuf_write("r", b"abc")
        read = await chardevs.ringbuf_read("r", 10)
        await chardevs.remove("r")
    finally:
        await iothread.stop()

    assert chardev.context is iothread.aio_context
    assert read == b"abc"


async def test_remove_closes_it(chardevs: ChardevSet, tmp_path: Path) -> None:
    path = tmp_path / "link"
    await chardevs.add(table("a", "pty", path=str(path)))
    was_there = path.is_symlink()

    await chardevs.remove("a")

    assert was_there
    assert not path.is_symlink()
    assert "a" not in chardevs


async def test_remove_unknown_is_refused(chardevs: ChardevSet) -> None:
    with pytest.raises(ChardevRefused) as caught:
        await chardevs.remove("b")

    assert str(caught.value) == "Chardev 'b' not found"


async def test_remove_with_a_front_end_is_refused(chardevs: ChardevSet) -> None:
    chardev = await chardevs.add(table("s", "null"))
    chardev.attach(Recorder())

    with pytest.raises(ChardevRefused) as caught:
        await chardevs.remove("s")

    assert str(caught.value) == "Chardev 's' is busy"


async def test_close_closes_all_also_when_an_authors_fails(
    chardevs: ChardevSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await chardevs.add(table("a", "pty", path=str(tmp_path / "link")))
    broken = await chardevs.add(table("b", "null"))

    async def disconnect() -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(broken, "disconnect", disconnect)
    await chardevs.close()

    assert not (tmp_path / "link").is_symlink()


# ---- change


async def test_change_front_end_goes_on_with_the_new_one(chardevs: ChardevSet) -> None:
    frontend = Swappable()
    old = await chardevs.add(table("s", "ringbuf"))
    old.attach(frontend)

    new = await chardevs.change("s", table("s", "ringbuf", size=16))
    new.write(b"out")
    new.deliver(b"in")

    assert chardevs["s"] is frontend.chardev is new
    assert frontend.received == b"in"
    assert await chardevs.ringbuf_read("s", 10) == b"out"
    assert not old.frontend_open
    # An end that is there takes the place of one that is: QEMU says OPENED, and nothing of a CLOSED.
    assert frontend.events == [ChardevEvent.OPENED, ChardevEvent.OPENED]


async def test_change_to_one_whose_other_end_is_not_there_is_told_closed(chardevs: ChardevSet) -> None:
    frontend = Swappable()
    (await chardevs.add(table("s", "ringbuf"))).attach(frontend)

    await chardevs.change("s", table("s", "null"))

    assert frontend.events == [ChardevEvent.OPENED, ChardevEvent.CLOSED]


async def test_change_input_waits_for_a_front_end_without_room(chardevs: ChardevSet) -> None:
    frontend = Swappable(limit=0)
    (await chardevs.add(table("s", "null"))).attach(frontend)
    new = await chardevs.change("s", table("s", "test-memory"))
    assert isinstance(new, MemoryChardev)

    new.type(b"in")
    frontend.limit = 10
    new.accept_input()

    assert frontend.received == b"in"


async def test_change_front_end_that_was_refused_is_told_to_write(chardevs: ChardevSet) -> None:
    frontend = Swappable()
    old = await chardevs.add(table("s", "test-memory"))
    assert isinstance(old, MemoryChardev)
    old.attach(frontend)
    old.limit = 0
    while old.write(bytes(100_000)) == 100_000:
        pass

    async with asyncio.timeout(GUARD):
        changing = asyncio.ensure_future(chardevs.change("s", table("s", "null")))
        await frontend.until(lambda: frontend.writable_calls == 1)
        old.accept()
        await changing

    assert frontend.chardev is chardevs["s"]


async def test_change_without_front_end_takes_the_old_one_away_first(chardevs: ChardevSet, tmp_path: Path) -> None:
    # Both want the same port.
    old = await chardevs.add(table("s", "socket", host="127.0.0.1", port=0, server=True, wait=False))
    port = int(old.filename.rpartition(":")[2].partition(",")[0])

    new = await chardevs.change("s", table("s", "socket", host="127.0.0.1", port=port, server=True, wait=False))

    assert new.filename == old.filename


async def test_change_new_one_fails_old_one_stays(chardevs: ChardevSet) -> None:
    frontend = Swappable()
    old = await chardevs.add(table("s", "ringbuf"))
    old.attach(frontend)

    with pytest.raises(ConfigError) as caught:
        await chardevs.change("s", table("s", "serial", path="/nonexistent"))
    old.write(b"still")

    assert str(caught.value) == "chardev 's': s: open /nonexistent: No such file or directory"
    assert chardevs["s"] is old
    assert old.frontend is frontend


async def test_change_unknown_is_refused(chardevs: ChardevSet) -> None:
    with pytest.raises(ChardevRefused) as caught:
        await chardevs.change("zz", table("zz", "null"))

    assert str(caught.value) == "Chardev 'zz' does not exist"


async def test_change_mux_is_refused(chardevs: ChardevSet) -> None:
    await chardevs.add(table("m", "null", mux=True))

    with pytest.raises(ChardevRefused) as caught:
        await chardevs.change("m", table("m", "null"))

    assert str(caught.value) == "Mux device hotswap not supported yet"


async def test_change_front_end_that_can_not_is_refused(chardevs: ChardevSet) -> None:
    (await chardevs.add(table("s", "null"))).attach(Recorder())

    with pytest.raises(ChardevRefused) as caught:
        await chardevs.change("s", table("s", "null"))

    assert str(caught.value) == "Chardev user does not support chardev hotswap"


async def test_change_while_it_is_being_changed_is_refused(chardevs: ChardevSet) -> None:
    (await chardevs.add(table("s", "null"))).attach(Swappable())
    waits = table("s", "socket", host="127.0.0.1", port=0, server=True)
    changing = asyncio.ensure_future(chardevs.change("s", waits))
    await asyncio.sleep(0)

    with pytest.raises(ChardevRefused) as caught:
        await chardevs.change("s", table("s", "null"))
    changing.cancel()
    await asyncio.wait([changing])

    assert str(caught.value) == "Chardev 's' is busy"
    assert chardevs["s"].name == "null"


# ---- what the monitor asks of one


async def test_send_break_reaches_the_front_end(chardevs: ChardevSet) -> None:
    frontend = Recorder()
    (await chardevs.add(table("s", "null"))).attach(frontend)

    await chardevs.send_break("s")

    assert frontend.events == [ChardevEvent.BREAK]


async def test_send_break_unknown_is_refused(chardevs: ChardevSet) -> None:
    with pytest.raises(ChardevRefused, match=r"^Chardev 'b' not found$"):
        await chardevs.send_break("b")


async def test_ringbuf_commands_refuse_what_is_none(chardevs: ChardevSet) -> None:
    await chardevs.add(table("a", "null"))
    await chardevs.add(table("r", "ringbuf"))

    with pytest.raises(ChardevRefused, match=r"^Device 'x' not found$"):
        await chardevs.ringbuf_write("x", b"")
    with pytest.raises(ChardevRefused, match=r"^a is not a ringbuf device$"):
        await chardevs.ringbuf_read("a", 1)
    with pytest.raises(ChardevRefused, match=r"^size must be greater than zero$"):
        await chardevs.ringbuf_read("r", 0)


async def test_query_shows_what_qemu_shows(chardevs: ChardevSet, tmp_path: Path) -> None:
    for name, backend, keys in (
        ("n", "null", {}),
        ("f", "file", {"path": str(tmp_path / "f")}),
        ("r", "memory", {}),
        ("u", "udp", {"host": "127.0.0.1", "port": 9}),
    ):
        await chardevs.add(table(name, backend, **keys))
    pty = await chardevs.add(table("p", "pty"))
    assert isinstance(pty, Pty)

    shown = {name: chardev.filename for name, chardev in chardevs.items()}

    assert shown == {"n": "null", "f": "file", "r": "ringbuf", "u": "udp", "p": f"pty:{pty.path}"}


# ---- yank


async def test_yank_sockets_only(chardevs: ChardevSet) -> None:
    await chardevs.add(table("n", "null"))
    await chardevs.add(table("s", "socket", host="127.0.0.1", port=0, server=True, wait=False))

    assert chardevs.yankable() == ["s"]
    with pytest.raises(KeyError):
        chardevs.yank("n")


async def test_yank_from_another_thread_ends_the_connection(chardevs: ChardevSet) -> None:
    frontend = Recorder()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        chardev = await chardevs.add(table("s", "socket", fd=ours.fileno()))
        chardev.attach(frontend)

        await asyncio.to_thread(chardevs.yank, "s")

        await frontend.until_event(ChardevEvent.CLOSED)
