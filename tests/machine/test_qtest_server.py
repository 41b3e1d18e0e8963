# SPDX-License-Identifier: GPL-2.0-or-later
"""Life of a machine that is driven over its qtest socket: clients that come, leave and misbehave, and its end."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from asyncemu.chardev.chardev import WRITE_BUFFER
from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext, Clocks
from asyncemu.machine import ExitReason, Machine, MachineOptions, RunState, qtest
from asyncemu.machine.qtest import QtestServer
from asyncemu.machine.qtest_commands import MAX_TIME, ClockStep, Intercept
from asyncemu.machine.virt import CLINT, PLIC, TEST
from asyncemu.testing import until
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.qtest_client import QtestClient, QtestFailure
from tests.machine.conftest import Make, Serve

MTIMECMP = CLINT[0] + 0x4000
PENDING = PLIC[0] + 0x1000


async def exit_reason(machine: Machine) -> ExitReason:
    async with asyncio.timeout(30):
        return await machine.wait_for_exit()


async def test_client_that_leaves_ends_the_machine(serve: Serve) -> None:
    machine, client = await serve()
    await client.ask(ClockStep(1))

    client.close()

    assert await exit_reason(machine) is ExitReason.QUIT
    assert machine.state is RunState.SHUTDOWN


async def test_client_that_leaves_with_answers_unread_ends_the_machine(serve: Serve) -> None:
    machine, client = await serve()
    server = machine._qtest
    assert server is not None

    # The client takes the first answer of 100; then it reads no more, and the server waits for it.
    await client.ask_line(b"read 0x80000000 0x100000\n" * 100)
    await until(lambda: server.unsent == WRITE_BUFFER)
    client.close()

    assert await exit_reason(machine) is ExitReason.QUIT


async def test_power_off_register_ends_the_machine_and_hangs_up(serve: Serve) -> None:
    machine, client = await serve()

    await client.write_value(TEST[0], 4, 0x5555)
    reason = await exit_reason(machine)
    await machine.close()

    assert reason is ExitReason.GUEST_SHUTDOWN
    with pytest.raises(EOFError):
        await client.wait_interrupt()


async def test_reset_register_is_done_with_before_the_clock_moves(serve: Serve) -> None:
    machine, client = await serve()
    await client.ask(Intercept("cpu0"))
    await client.write_value(MTIMECMP, 8, 50)
    await client.write_value(CLINT[0], 4, 1)
    await client.ask(ClockStep(10))

    await client.write_value(TEST[0], 4, 0x7777)
    now = await client.ask(ClockStep(10_000))

    assert (now, await client.read_value(MTIMECMP, 8)) == ("10010", (1 << 64) - 1)
    assert client.interrupts == [(3, True), (3, False)]
    assert machine.state is RunState.RUNNING


async def test_second_client_waits_while_the_first_is_served(serve: Serve, tmp_path: Path) -> None:
    machine, client = await serve()
    second = await QtestClient.connect(tmp_path / "qtest.sock")
    waiting = asyncio.create_task(second.ask(ClockStep(7)))

    answer = await client.ask(ClockStep(1))
    client.close()
    await exit_reason(machine)
    await machine.close()

    assert answer == "1"
    with pytest.raises((EOFError, ConnectionError)):
        await waiting
    second.close()


async def test_garbage_is_answered_and_the_client_goes_on(serve: Serve) -> None:
    _, client = await serve()

    with pytest.raises(QtestFailure, match=r"^Unknown command '\\x00\\xff'$"):
        await client.ask_line(b"\0\xff\n")
    with pytest.raises(QtestFailure, match=r"^a line has fewer than"):
        await client.ask_line(b"x" * (3 << 20) + b"\n")

    assert await client.ask(ClockStep(1)) == "1"


async def test_buffer_full_of_commands_leaves_the_loop_free(serve: Serve) -> None:
    machine, client = await serve()
    turns = 0

    answering = asyncio.create_task(client.ask_line(b"endianness\n" * 1000 + b"clock_step 7\n"))
    while machine.clocks.virtual.now() != 7:
        await asyncio.sleep(0)
        turns += 1

    assert await answering == "little"
    assert turns > 1000


async def test_bug_of_a_device_ends_the_machine_as_a_failure(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, client = await serve()
    errors: list[object] = []
    machine.context.loop.set_exception_handler(lambda loop, context: errors.append(str(context["exception"])))
    monkeypatch.setattr(machine.board.plic, "mmio_read", lambda offset, size: 1 / 0)

    reading = asyncio.create_task(client.read_value(PENDING, 4))
    reason = await exit_reason(machine)
    await machine.close()

    assert (reason, errors) == (ExitReason.GUEST_FAILURE, ["division by zero"])
    with pytest.raises(EOFError):
        await reading


async def test_close_without_a_client_takes_the_socket_away(make: Make, tmp_path: Path) -> None:
    machine = make(machine={"qtest": "unix:qtest.sock"})
    await machine.build()
    machine.start()
    path = tmp_path / "qtest.sock"
    there = path.is_socket()

    await machine.close()

    assert (there, path.exists()) == (True, False)


async def test_listen_where_none_can_is_one_line(make: Make, tmp_path: Path) -> None:
    machine = make(machine={"qtest": "unix:missing/qtest.sock"})

    with pytest.raises(ConfigError) as caught:
        await machine.build()

    where = f"unix:{tmp_path}/missing/qtest.sock"
    assert str(caught.value) == f"machine.qtest: listen at {where}: No such file or directory; give another address"


async def test_listen_at_a_path_too_long_is_one_line(make: Make) -> None:
    machine = make(machine={"qtest": f"unix:{'x' * 200}"})

    with pytest.raises(ConfigError, match=r"^machine\.qtest: listen at .*: AF_UNIX path too long; give another addr"):
        await machine.build()


async def test_server_wants_a_clock_that_it_can_step(context: AioContext) -> None:
    machine = Machine(context, MachineOptions.model_validate({}), clocks=Clocks(FakeClock()))

    with pytest.raises(TypeError, match=r"^qtest needs clocks over a SteppedSource, not <"):
        QtestServer(machine, lambda error: None)


async def test_tcp_client_is_served(make: Make) -> None:
    machine = make(machine={"qtest": "tcp:127.0.0.1:0"})
    await machine.build()
    machine.start()
    assert machine._qtest is not None
    host, port = machine._qtest.address.split(":")

    client = QtestClient(*await asyncio.open_connection(host, int(port)))
    answer = await client.ask(ClockStep(3))
    client.close()

    assert (answer, await exit_reason(machine)) == ("3", ExitReason.QUIT)


@pytest.mark.slow
def test_program_serves_one_client_and_exits_with_status_0(tmp_path: Path) -> None:
    config = tmp_path / "vm.toml"
    config.write_text('[machine]\nmemory = "8M"\nqtest = "unix:s"\n')
    command = [sys.executable, "-m", "asyncemu", "vm.toml"]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))
            client.sendall(b"clock_step 5\n")
            answer = client.recv(64)
        status = process.wait(30)
        rest = process.stderr.read()

    assert line == "asyncemu: qtest: waits for a client at unix:s\n"
    assert (answer, status, rest) == (b"OK 5\n", 0, "")


async def test_intercept_more_interrupts_than_are_read_hangs_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(qtest, "MAX_INTERRUPTS", 4)
    machine, client = await serve()
    await client.ask(Intercept("plic"))

    for _ in range(4):
        machine.board.rtc.irq.set(True)
        machine.board.rtc.irq.set(False)

    assert await exit_reason(machine) is ExitReason.QUIT
    assert caplog.messages == ["4 interrupts were not read; hanging up"]


async def test_close_in_the_middle_of_a_very_long_step(serve: Serve) -> None:
    machine, client = await serve()
    clock = machine.clocks.virtual
    timer = machine.context.timer(clock, lambda: timer.mod(clock.now() + 1))
    timer.mod(1)

    stepping = asyncio.create_task(client.ask(ClockStep(MAX_TIME)))
    await until(lambda: clock.now() > 10)
    await machine.close()

    assert clock.now() < MAX_TIME
    with pytest.raises(EOFError):
        await stepping
