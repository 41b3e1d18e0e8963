# SPDX-License-Identifier: GPL-2.0-or-later
"""IOThreads of a machine: made from vm.toml, lived in by devices with what they use, ended with it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.loop import IOThread
from asyncemu.machine import RunState
from tests.machine.conftest import Make
from tests.machine.guest import debian, run

DISK = {"node-name": "disk0", "driver": "raw", "file": {"driver": "null-co", "size": "1MiB"}}
BLK = {"driver": "virtio-blk", "id": "blk0", "drive": "disk0"}
CONSOLE = {"driver": "virtio-console", "id": "console0", "chardev": "c0"}
CHARDEV = {"id": "c0", "backend": "null"}


def iothread_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("IO ")]


def tables(**more: Any) -> dict[str, Any]:
    return {"iothread": [{"id": "io0", "poll-max-ns": 0}, {"id": "io1"}], "blockdev": [DISK], **more}


async def test_device_its_disk_and_all_below_live_in_the_iothread(make: Make) -> None:
    machine = make(**tables(device=[{**BLK, "iothread": "io0"}]))
    await machine.build()
    home = machine.iothreads["io0"].aio_context

    assert machine.devices["blk0"].context is home
    assert {node.context for node in machine.block.nodes.values()} == {home}


async def test_close_ends_the_threads(make: Make) -> None:
    machine = make(**tables(device=[{**BLK, "iothread": "io0"}]))
    await machine.build()
    before = iothread_threads()

    await machine.close()

    assert (before, iothread_threads()) == (["IO io0", "IO io1"], [])


async def test_chardev_is_opened_where_its_user_lives(make: Make) -> None:
    machine = make(**tables(chardev=[CHARDEV], device=[{**CONSOLE, "iothread": "io1"}]))
    await machine.build()

    assert machine.chardevs["c0"].context is machine.iothreads["io1"].aio_context


async def test_parameters_come_from_the_table(make: Make) -> None:
    machine = make(**tables())
    await machine.build()

    queried = [machine.iothreads[name].query() for name in ("io0", "io1")]
    assert [each["poll-max-ns"] for each in queried] == [0, 32768]
    assert all(each["thread-id"] > 0 for each in queried)


async def test_contexts_are_the_main_one_and_the_iothreads(make: Make) -> None:
    machine = make(**tables())
    await machine.build()

    assert [context.name for context in machine.contexts()] == [machine.context.name, "io0", "io1"]


async def test_move_device_there_and_back(make: Make) -> None:
    machine = make("1: wfi; j 1b", **tables(device=[BLK]))
    await machine.build()
    machine.start()

    homes = []
    for iothread in ("io0", "io1", ""):
        await machine.move_device("blk0", iothread)
        homes.append((machine.devices["blk0"].context.name, machine.block.nodes["disk0"].context.name))

    assert homes == [(name, name) for name in ("io0", "io1", machine.context.name)]


async def test_move_device_with_a_chardev_is_refused(make: Make) -> None:
    machine = make(**tables(chardev=[CHARDEV], device=[CONSOLE]))
    await machine.build()

    with pytest.raises(
        AsyncemuError, match=r"console0: can't move to io0, as chardevs can't; set iothread in vm\.toml"
    ):
        await machine.move_device("console0", "io0")


async def test_pause_and_resume_with_a_device_in_an_iothread(make: Make) -> None:
    machine = make("1: j 1b", **tables(device=[{**BLK, "iothread": "io0"}]))
    await machine.build()
    machine.start()
    states = []
    for _ in range(3):
        await machine.pause()
        states.append(machine.state)
        machine.resume()
        states.append(machine.state)

    assert states == [RunState.PAUSED, RunState.RUNNING] * 3


async def test_reset_with_a_device_in_an_iothread(make: Make) -> None:
    machine = make("1: wfi; j 1b", **tables(device=[{**BLK, "iothread": "io0"}]))
    await machine.build()
    machine.start()

    await machine.reset()

    assert machine.state is RunState.RUNNING


async def test_build_that_fails_ends_the_threads(make: Make) -> None:
    machine = make(**tables(device=[{**BLK, "iothread": "io0"}]))
    machine.options = machine.options.model_copy(update={"kernel": Path("missing")})

    with pytest.raises(AsyncemuError):
        await machine.build()
    await machine.close()

    assert iothread_threads() == []


async def test_host_without_threads_is_one_line(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = make(**tables())

    def refuse(self: IOThread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(IOThread, "start", refuse)

    with pytest.raises(ConfigError) as raised:
        await machine.build()
    assert str(raised.value) == (
        "iothread[0]: the host has no thread or descriptors for it: can't start new thread; use fewer"
    )


@pytest.mark.guest
@pytest.mark.slow
async def test_debian_on_devices_in_iothreads_reads_back_what_it_wrote(tmp_path: Path) -> None:
    config = debian(tmp_path, "demo")
    text = config.read_text().replace(
        'serial = "test-disk"', 'num-queues = 2\niothread-vq-mapping = [{ iothread = "io0" }, { iothread = "io1" }]'
    )
    text += 'iothread = "io1"\n\n[[iothread]]\nid = "io0"\n\n[[iothread]]\nid = "io1"\n'
    config.write_text(text)

    async with run(config, environment={"ASYNCEMU_DEBUG": "1"}) as guest:
        wrote = await guest.expect(r"demo: wrote (\S+ \S+)")
        read = await guest.expect(r"demo: read back (\S+ \S+)")
        status = await guest.wait()

    assert (status, wrote[1]) == (0, read[1])
    assert "demo: done" in guest.text
