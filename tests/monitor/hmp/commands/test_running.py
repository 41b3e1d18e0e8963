# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that let a machine run, stop and end, and what they say of it."""

from __future__ import annotations

from asyncemu import __version__
from asyncemu.events import Event, Occurrence, Powerdown, Reset
from asyncemu.machine import RunState
from asyncemu.monitor.control import Control
from asyncemu.monitor.hmp.session import Session
from tests.monitor.hmp.conftest import Build


def events_of(session: Session) -> list[Event]:
    """Those from now on."""
    seen: list[Event] = []

    def listen(occurrence: Occurrence) -> None:
        seen.append(occurrence.event)

    session.machine.events.subscribe(listen)
    return seen


async def test_c_and_s_let_it_run_and_stop(session: Session) -> None:
    await session.run("c")
    running = session.machine.state
    await session.run("s")

    assert (running, session.machine.state) == (RunState.RUNNING, RunState.PAUSED)
    assert await session.run("info status") == "VM status: paused\n"


async def test_info_status_of_one_that_runs(session: Session) -> None:
    await session.run("cont")

    assert await session.run("info status") == "VM status: running\n"


async def test_system_reset_resets(session: Session) -> None:
    seen = events_of(session)

    await session.run("system_reset")
    await session.machine.wait_settled()

    assert [type(event) for event in seen] == [Reset]


async def test_system_powerdown_tells_the_guest(session: Session) -> None:
    seen = events_of(session)

    await session.run("system_powerdown")

    assert [type(event) for event in seen] == [Powerdown]


async def test_quit_ends_it(session: Session) -> None:
    await session.run("quit")
    await session.machine.wait_for_exit()

    assert session.machine.state is RunState.SHUTDOWN


async def test_info_cpus_has_a_star_at_the_one_that_is_meant(session: Session) -> None:
    thread = session.machine.vcpus[0].thread_id

    assert await session.run("info cpus") == f"* CPU #0: thread_id={thread}\n"


async def test_cpu_that_is_not_there_is_refused(session: Session) -> None:
    assert await session.run("cpu 1") == "invalid CPU index\n"


async def test_info_version_is_qemus_and_ours(session: Session) -> None:
    assert await session.run("info version") == f"7.2.0 (asyncemu {__version__})\n"


async def test_info_name_and_uuid_are_those_of_the_machine(build: Build) -> None:
    uuid = "11111111-2222-3333-4444-555555555555"
    session = Session(Control(await build(machine={"name": "box", "uuid": uuid})))

    assert [await session.run(f"info {what}") for what in ("name", "uuid")] == ["box\n", f"{uuid}\n"]


async def test_info_kvm_says_whether_it_runs(session: Session) -> None:
    assert await session.run("info kvm") == "kvm support: not compiled\n"


async def test_info_history_where_none_is_kept_is_empty(session: Session) -> None:
    assert await session.run("info history") == ""


async def test_help_without_a_name_lists_all(session: Session) -> None:
    lines = (await session.run("help")).splitlines()

    assert "cont|c  -- resume emulation" in lines
    assert "help|? [cmd] -- show the help" in lines


async def test_help_info_lists_all_there_is_to_know(session: Session) -> None:
    assert await session.run("help info") == await session.run("info")
