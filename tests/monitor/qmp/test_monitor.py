# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP on a chardev: clients, in band and out of band, good ones and others."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest

from asyncemu.config.load import check
from asyncemu.events import Event
from asyncemu.loop import AioContext
from asyncemu.monitor.command import Call
from asyncemu.monitor.control import Control
from asyncemu.monitor.monitors import Monitors
from asyncemu.monitor.qmp.monitor import MAX_REQUESTS, MAX_UNSENT
from asyncemu.monitor.qmp.outbox import MAX_EVENTS
from tests.monitor.conftest import AddCommand, Connect, Serve
from tests.monitor.qmp.client import RawClient


class Gate:
    """A command that waits until it is let go, and says when it is reached."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.calls = 0

    async def wait(self, call: Call) -> dict[str, Any]:
        self.calls += 1
        self.reached.set()
        await self.open.wait()
        return {}


async def now(call: Call) -> dict[str, Any]:
    """A command that may run anywhere."""
    return {"at": "once"}


class Flood(Event):
    """An event that was not there before."""

    number: int


class Limited(Event):
    """At most one in a millisecond."""

    rate_limit_ns: ClassVar[int] = 1_000_000

    number: int


# By hand: those that are defined with a name are in the schema.
Flood.wire_name, Limited.wire_name = "FLOOD", "LIMITED"


# ---- clients


async def test_client_is_greeted(serve: Serve, tmp_path: Path) -> None:
    await serve()

    reader, writer = await asyncio.open_unix_connection(tmp_path / "qmp.sock")
    greeting = json.loads(await reader.readline())
    writer.close()

    assert greeting["QMP"]["capabilities"] == ["oob"]
    assert greeting["QMP"]["version"]["qemu"] == {"major": 7, "minor": 2, "micro": 0}


async def test_clients_one_after_the_other_each_negotiates_anew(serve: Serve, connect: Connect) -> None:
    await serve()
    first = await connect(enable='"oob"')
    await first.close()

    second = await connect(enable=None)
    refusal = await second.ask("query-name")

    assert refusal["error"]["class"] == "CommandNotFound"


async def test_client_that_leaves_while_its_command_runs_leaves_nothing_to_the_next(
    serve: Serve, connect: Connect, add_command: AddCommand
) -> None:
    gate = Gate()
    add_command("wait", gate.wait)
    await serve()
    first = await connect()
    first.send(b'{"execute":"wait","id":"first"}')
    await gate.reached.wait()
    await first.close()
    second = await connect(enable=None)

    gate.open.set()
    replies = [await second.ask("qmp_capabilities"), await second.ask("query-name")]

    assert replies == [{"return": {}}, {"return": {}}]


async def test_a_hundred_monitors_each_gets_its_answer(serve: Serve, connect: Connect) -> None:
    await serve({"qmp": {"listen": [f"unix:{number}.sock" for number in range(100)]}})
    clients = [await connect(f"{number}.sock") for number in range(100)]

    for number, client in enumerate(clients):
        client.send(b'{"execute":"query-status","id":%d}' % number)
    ids = [(await client.reply())["id"] for client in clients]

    assert ids == list(range(100))


async def test_line_of_a_mebibyte_is_answered(serve: Serve, connect: Connect) -> None:
    await serve()
    client = await connect()

    replies = await client.answers(b'{"execute":"query-name","id":"%s"}' % (b"x" * (1 << 20)))

    assert [len(reply["id"]) for reply in replies] == [1 << 20]


async def test_pretty_reply_is_in_several_lines(serve: Serve, tmp_path: Path) -> None:
    await serve({"qmp": {"listen": "unix:qmp.sock", "pretty": True}})

    reader, writer = await asyncio.open_unix_connection(tmp_path / "qmp.sock")
    first_lines = [await reader.readline() for _ in range(2)]
    writer.close()

    assert first_lines == [b"{\r\n", b'    "QMP": {\r\n']


# ---- in band and out of band


async def test_out_of_band_is_answered_while_a_command_runs(
    serve: Serve, connect: Connect, add_command: AddCommand
) -> None:
    gate = Gate()
    add_command("wait", gate.wait)
    add_command("now", now, allow_oob=True)
    await serve()
    client = await connect(enable='"oob"')
    client.send(b'{"execute":"wait","id":1} {"execute":"query-name","id":2}')
    await gate.reached.wait()

    at_once = await client.ask("now", "exec-oob")
    gate.open.set()
    later = [await client.reply(), await client.reply()]

    assert at_once == {"return": {"at": "once"}}
    assert [reply["id"] for reply in later] == [1, 2]


async def test_out_of_band_command_that_waits_is_a_bug_of_its_own(
    serve: Serve, connect: Connect, add_command: AddCommand
) -> None:
    gate = Gate()
    add_command("wait", gate.wait, allow_oob=True)
    await serve()
    client = await connect(enable='"oob"')

    reply = await client.ask("wait", "exec-oob")

    assert reply["error"]["desc"] == "internal error: RuntimeError: a command that may run in any thread waits"


async def test_without_oob_the_next_request_is_read_when_the_first_is_done(
    serve: Serve, connect: Connect, add_command: AddCommand
) -> None:
    gate = Gate()
    add_command("wait", gate.wait)
    await serve()
    client = await connect()

    client.send(b'{"execute":"wait","id":1} ] {"execute":"wait","id":2}')
    await gate.reached.wait()
    calls_before = gate.calls
    gate.open.set()
    replies = [await client.reply() for _ in range(3)]

    assert calls_before == 1
    assert [reply.get("id") for reply in replies] == [1, None, 2]


async def test_command_for_anywhere_waits_for_those_before_it(
    serve: Serve, connect: Connect, add_command: AddCommand
) -> None:
    gate = Gate()
    add_command("wait", gate.wait)
    add_command("now", now, allow_oob=True)
    await serve()
    client = await connect(enable='"oob"')
    client.send(b'{"execute":"wait","id":1} {"execute":"query-status","id":2} {"exec-oob":"now","id":3}')

    first = await client.reply()
    gate.open.set()
    order = [first["id"], *[(await client.reply())["id"] for _ in range(2)]]

    assert order == [3, 1, 2]


async def test_requests_beyond_the_queue_are_not_read_until_there_is_room(
    serve: Serve, connect: Connect, add_command: AddCommand
) -> None:
    gate = Gate()
    add_command("wait", gate.wait)
    add_command("now", now, allow_oob=True)
    await serve()
    client = await connect(enable='"oob"')
    client.send(b'{"execute":"wait","id":"first"}')
    await gate.reached.wait()

    # One runs, these fill the queue; what is behind them is not seen, out of band or not.
    client.send(b'{"execute":"query-name"}' * MAX_REQUESTS + b'{"exec-oob":"now","id":"oob"}')
    gate.open.set()
    order = [(await client.reply()).get("id") for _ in range(MAX_REQUESTS + 2)]

    assert order[0] == "first"
    assert order.index("oob") > 0


async def test_monitors_take_turns(serve: Serve, connect: Connect, add_command: AddCommand) -> None:
    gate = Gate()
    order: list[str] = []

    async def note(call: Call) -> dict[str, Any]:
        assert call.monitor is not None
        order.append(call.monitor.id)
        return {}

    add_command("wait", gate.wait)
    add_command("note", note)
    add_command("now", now, allow_oob=True)
    await serve({"qmp": {"listen": ["unix:0.sock", "unix:1.sock"]}})
    greedy, modest = await connect("0.sock", enable='"oob"'), await connect("1.sock", enable='"oob"')
    greedy.send(b'{"execute":"wait"}' + b'{"execute":"note"}' * 4)
    await gate.reached.wait()
    modest.send(b'{"execute":"note"}')
    # Behind what was said before: both have been read when these are answered.
    await greedy.ask("now", "exec-oob")
    await modest.ask("now", "exec-oob")

    gate.open.set()
    await modest.reply()
    for _ in range(5):
        await greedy.reply()

    assert order == ["compat_monitor1"] + ["compat_monitor0"] * 4


# ---- what goes wrong


async def test_bug_in_a_command_is_told_and_all_goes_on(
    serve: Serve, connect: Connect, add_command: AddCommand, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(call: Call) -> None:
        raise ZeroDivisionError("no\nway")

    add_command("broken", broken)
    await serve()
    client = await connect()

    reply = await client.ask("broken")
    with caplog.at_level(logging.ERROR, "asyncemu.monitor"):
        next_reply = await client.ask("query-name")

    assert reply == {"error": {"class": "GenericError", "desc": "internal error: ZeroDivisionError: no way"}}
    assert next_reply == {"return": {}}
    assert "QMP command broken" in caplog.text and "test_monitor.py" in caplog.text


async def test_result_that_is_no_json_is_told_and_all_goes_on(
    serve: Serve, connect: Connect, add_command: AddCommand
) -> None:
    async def odd(call: Call) -> Any:
        return {"x": {1, 2}}

    add_command("odd", odd)
    await serve()
    client = await connect()

    reply = await client.ask("odd")
    next_reply = await client.ask("query-name")

    assert reply["error"]["desc"] == "internal error: TypeError: Object of type set is not JSON serializable"
    assert next_reply == {"return": {}}


async def test_client_that_never_reads_is_bounded_and_harms_nobody(
    serve: Serve, connect: Connect, add_command: AddCommand
) -> None:
    calls = 0

    async def much(call: Call) -> str:
        nonlocal calls
        calls += 1
        return "x" * (256 << 10)

    add_command("much", much)
    machine = await serve({"qmp": {"listen": ["unix:qmp.sock", "unix:other.sock"]}})
    deaf, other = await connect(), await connect("other.sock")
    deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
    deaf.send(b'{"execute":"much"}' * 100)

    # The other one is served all the time; from some point on nothing more is done for the deaf one.
    before = -1
    while calls != before:
        before = calls
        for _ in range(20):
            await other.ask("query-name")
    for number in range(4 * MAX_EVENTS):
        machine.events.emit(Flood(number=number))
    last = [(await other.event("FLOOD"))["data"]["number"] for _ in range(MAX_EVENTS)]

    assert 0 < calls <= MAX_UNSENT // (256 << 10) + 8
    assert last[0] == 0


# ---- events


async def test_event_goes_to_all_who_have_negotiated(serve: Serve, connect: Connect) -> None:
    machine = await serve({"qmp": {"listen": ["unix:0.sock", "unix:1.sock", "unix:2.sock"]}})
    clients = [await connect("0.sock"), await connect("1.sock")]
    silent = await connect("2.sock", enable=None)

    machine.events.emit(Flood(number=1))
    events = [await client.event("FLOOD") for client in clients]
    answer = await silent.ask("qmp_capabilities")

    assert [event["data"] for event in events] == [{"number": 1}] * 2
    assert (answer, silent.events) == ({"return": {}}, [])


async def test_event_of_a_command_comes_before_its_reply(serve: Serve, connect: Connect) -> None:
    await serve()
    client = await connect()

    reply = await client.ask("cont")

    assert (reply, [event["event"] for event in client.events]) == ({"return": {}}, ["RESUME"])


async def test_event_with_a_limit_is_held_and_the_last_one_follows(serve: Serve, connect: Connect) -> None:
    machine = await serve()
    client = await connect()

    for number in range(3):
        machine.events.emit(Limited(number=number))
    numbers = [(await client.event("LIMITED"))["data"]["number"] for _ in range(2)]

    assert numbers == [0, 2]


# ---- the end


async def test_quit_is_answered_and_told_of_before_the_end(serve: Serve, connect: Connect) -> None:
    machine = await serve()
    client = await connect()

    reply = await client.ask("quit")
    shutdown = await client.event("SHUTDOWN")
    await machine.wait_for_exit()

    assert (reply, shutdown["data"]) == ({"return": {}}, {"guest": False, "reason": "host-qmp-quit"})


async def test_close_does_not_wait_for_a_client_that_is_stuck(
    context: AioContext, tmp_path: Path, undo: AsyncExitStack, add_command: AddCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def much(call: Call) -> str:
        return "x" * MAX_UNSENT

    add_command("much", much)
    monkeypatch.setattr("asyncemu.monitor.qmp.monitor.CLOSE_TIMEOUT", 0.01)
    config = check({"machine": {"memory": "8M"}, "qmp": {"listen": "unix:qmp.sock"}}, tmp_path)
    machine = config.make_machine(context)
    undo.push_async_callback(machine.close)
    await machine.build()
    monitors = Monitors(Control(machine), config.monitors)
    await monitors.open()
    deaf = await RawClient.connect(tmp_path / "qmp.sock")
    undo.push_async_callback(deaf.close)
    deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
    deaf.send(b'{"execute":"much"}{"execute":"much"}')

    await monitors.close()

    assert machine.chardevs["compat_monitor0"].unsent == 0


async def test_socket_is_for_its_owner_only(serve: Serve, tmp_path: Path) -> None:
    await serve()

    assert (tmp_path / "qmp.sock").stat().st_mode & 0o777 == 0o600


async def test_arguments_are_checked(serve: Serve, connect: Connect, add_command: AddCommand) -> None:
    async def takes_nothing(call: Call) -> None:
        raise AssertionError("not called")

    add_command("takes-nothing", takes_nothing)
    await serve()
    client = await connect()

    reply = await client.ask("takes-nothing", x=1)

    assert reply["error"]["desc"] == "Parameter 'x' is unexpected"
