# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import pytest

import asyncemu
from asyncemu.api import ConsoleEnded, NoConsole
from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.events import Reset, Resume, Shutdown, Stop
from asyncemu.machine import ExitReason, RunState
from asyncemu.monitor.errors import QmpError
from tests.api.guests import echo_machine
from tests.machine.guest import debian

RAM_BASE = 0x8000_0000


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.both_loops
async def test_machine_console_goes_both_ways(tmp_path: Path) -> None:
    async with asyncemu.Machine(echo_machine(tmp_path)) as vm:
        await vm.console.expect("hello")
        vm.console.send("a")

        assert await vm.console.expect("b")


async def test_machine_guest_powers_off_and_says_why(tmp_path: Path) -> None:
    async with asyncemu.Machine(echo_machine(tmp_path)) as vm:
        vm.console.send("q")

        assert await vm.wait_for_exit() is ExitReason.GUEST_SHUTDOWN
        with pytest.raises(ConsoleEnded, match="the machine has ended: guest-shutdown"):
            await vm.console.expect("never")


async def test_machine_console_in_vm_toml_is_the_programs(tmp_path: Path) -> None:
    tables = echo_machine(tmp_path, chardev=[{"id": "console", "backend": "stdio", "logfile": "log"}])

    async with asyncemu.Machine(tables, directory=tmp_path) as vm:
        await vm.console.expect("hello")

    assert (tmp_path / "log").read_text() == "hello\n"


async def test_machine_serial_of_another_name_is_the_programs(tmp_path: Path) -> None:
    tables = echo_machine(tmp_path, machine={"serial": "tty"}, chardev=[{"id": "tty", "backend": "null"}])

    async with asyncemu.Machine(tables) as vm:
        assert await vm.console.expect("hello")


async def test_machine_without_console_says_so(tmp_path: Path) -> None:
    async with asyncemu.Machine(echo_machine(tmp_path), console=False) as vm:
        with pytest.raises(NoConsole, match="this machine was made with console=False"):
            vm.console  # noqa: B018


async def test_machine_from_a_file_with_overrides(tmp_path: Path) -> None:
    echo_machine(tmp_path)
    (tmp_path / "vm.toml").write_text('[machine]\nmemory = "16MiB"\nkernel = "kernel.bin"\n')

    async with asyncemu.Machine(tmp_path / "vm.toml", overrides=["machine.name=mine"]) as vm:
        assert await vm.qmp("query-name") == {"name": "mine"}


async def test_machine_before_its_block_says_how(tmp_path: Path) -> None:
    vm = asyncemu.Machine(echo_machine(tmp_path))

    with pytest.raises(AsyncemuError, match="write: async with Machine"):
        vm.console  # noqa: B018


async def test_machine_wrong_configuration_is_all_its_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"machine.memori: unknown"):
        asyncemu.Machine({"machine": {"memori": 1}})


async def test_machine_that_can_not_be_built_gives_everything_back(tmp_path: Path) -> None:
    tables = echo_machine(tmp_path, blockdev=[{"node-name": "disk", "driver": "file", "filename": "none"}])
    # Machines of tests before are gone from here on, and not at some time in between.
    gc.collect()
    before = open_files()

    async def failure() -> str:
        try:
            async with asyncemu.Machine(tables, directory=tmp_path):
                return ""
        except ConfigError as error:
            return str(error)

    assert "blockdev[0].filename: Could not open" in await failure()
    # A mapping of guest RAM has a descriptor of its own, until the last view of it is gone.
    gc.collect()
    assert open_files() == before


async def test_machine_not_started_waits_for_resume(tmp_path: Path) -> None:
    async with asyncemu.Machine(echo_machine(tmp_path), paused=True) as vm:
        state = vm.parts.state
        vm.resume()

        assert state is RunState.PRELAUNCH
        assert await vm.console.expect("hello")


async def test_machine_events_are_typed(tmp_path: Path) -> None:
    async with asyncemu.Machine(echo_machine(tmp_path)) as vm:
        with vm.events(Stop, Resume, Reset) as events:
            await vm.pause()
            vm.resume()
            await vm.reset()

            assert [type(await anext(events)) for _ in range(3)] == [Stop, Resume, Reset]


async def test_machine_events_end_with_the_machine(tmp_path: Path) -> None:
    async with asyncemu.Machine(echo_machine(tmp_path)) as vm:
        events = vm.events(Shutdown)
        vm.console.send("q")
        await vm.wait_for_exit()

    assert [(event.guest, event.reason) async for event in events] == [(True, "guest-shutdown")]


async def test_machine_qmp_error_is_an_exception(tmp_path: Path) -> None:
    async with asyncemu.Machine(echo_machine(tmp_path)) as vm:
        with pytest.raises(QmpError, match="The command nonsense has not been found"):
            await vm.qmp("nonsense")


async def test_machine_hmp_line_is_answered_in_text(tmp_path: Path) -> None:
    async with asyncemu.Machine(echo_machine(tmp_path), paused=True) as vm:
        assert await vm.hmp("info status") == "VM status: paused (prelaunch)\n"


async def test_machine_qmp_socket_of_vm_toml_is_open(tmp_path: Path) -> None:
    tables = echo_machine(tmp_path, qmp={"listen": "unix:qmp.sock"})

    async with asyncemu.Machine(tables, directory=tmp_path):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "qmp.sock")
        greeting = await reader.readline()
        writer.close()

    assert b'"QMP"' in greeting


async def test_machine_memory_is_the_guests(tmp_path: Path) -> None:
    async with asyncemu.Machine(echo_machine(tmp_path)) as vm:
        vm.memory.write(RAM_BASE + 0x80_0000, b"left by the program")

        assert vm.memory.read(RAM_BASE + 0x80_0000, 4) == b"left"


async def test_machine_two_in_one_program(tmp_path: Path) -> None:
    async with asyncemu.Machine(echo_machine(tmp_path)) as one, asyncemu.Machine(echo_machine(tmp_path)) as other:
        await asyncio.gather(one.console.expect("hello"), other.console.expect("hello"))
        one.console.send("a")
        other.console.send("x")

        assert await one.console.expect("b")
        assert await other.console.expect("y")


async def test_machine_threads_hand_the_gil_over_quickly(tmp_path: Path) -> None:
    async with asyncemu.Machine(echo_machine(tmp_path)):
        assert sys.getswitchinterval() <= 50e-6


@pytest.mark.guest
@pytest.mark.slow
async def test_machine_debian_runs_commands(tmp_path: Path) -> None:
    async with asyncemu.Machine(debian(tmp_path, "shell")) as vm:
        system = await vm.run("uname -sm")
        failure = await vm.run("ls /nowhere", check=False)
        lines = await vm.run("for i in 1 2 3; do echo line $i; done")
        await vm.reset()
        again = await vm.run("cut -d. -f1 /proc/uptime")

    assert system.output == "Linux riscv64"
    assert failure.status == 1
    assert "/nowhere" in failure.output
    assert lines.output == "line 1\nline 2\nline 3"
    assert int(again.output) < 30
