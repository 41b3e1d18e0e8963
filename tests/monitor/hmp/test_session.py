# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines run on a machine with nothing but a board."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncemu.monitor import hmp
from asyncemu.monitor.control import Control
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.hmp import session as session_module
from asyncemu.monitor.hmp.arguments import ArgumentType
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import COMMANDS, INFO_COMMANDS, in_order, load
from tests.monitor.hmp.conftest import RAM_BASE, Build

load()

#: Commands that write files, ask for addresses of hosts, or end the machine.
AFFECTING_THE_HOST = {
    *("quit", "q", "cont", "c", "nbd_server_start", "hostfwd_add"),
    *("memsave", "pmemsave", "dump-guest-memory", "snapshot_blkdev"),
}


async def test_unknown_command_is_named(session: Session) -> None:
    assert await session.run("foo bar") == "unknown command: 'foo'\n"


async def test_unknown_subject_of_info_is_named_with_info(session: Session) -> None:
    assert await session.run(" info  foo") == "unknown command: 'info  foo'\n"


@pytest.mark.parametrize("line", ["", "   ", "\t"])
async def test_nothing_typed_prints_nothing(session: Session, line: str) -> None:
    assert await session.run(line) == ""


async def test_wrong_argument_names_help_as_typed(session: Session) -> None:
    assert await session.run("p (1") == "')' expected\nTry \"help p\" for more information\n"


async def test_wrong_argument_of_info_names_help_of_info(session: Session) -> None:
    text = await session.run("info status x")

    assert text == 'status: extraneous characters at the end of line\nTry "help info status" for more information\n'


async def test_failure_of_a_command_is_an_error(session: Session) -> None:
    assert await session.run("object_del x") == "Error: object 'x' not found\n"


async def test_output_without_end_is_ended(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "OUTPUT_LIMIT", 10_000)

    text = await session.run(f"xp/2000xb {RAM_BASE:#x}")

    assert text.endswith("\n(the output ends here: it has 10000 characters)\n")
    assert len(text) < 10_100


async def test_format_stays_for_the_next_line(session: Session) -> None:
    await session.run(f"xp/1xh {RAM_BASE:#x}")

    assert await session.run(f"xp {RAM_BASE:#x}") == "0000000080000000: 0x0000\n"


async def test_format_of_another_user_does_not_matter(session: Session) -> None:
    other = Session(session.control)
    await other.run(f"xp/1xh {RAM_BASE:#x}")

    assert await session.run(f"xp {RAM_BASE:#x}") == "0000000080000000: 0x00000000\n"


async def test_execute_runs_one_line(build: Build) -> None:
    assert await hmp.execute(Control(await build()), "info status") == "VM status: paused (prelaunch)\n"


async def test_execute_cpu_that_is_not_there_is_refused(build: Build) -> None:
    with pytest.raises(QmpError, match="Parameter 'cpu-index' expects a CPU number"):
        await hmp.execute(Control(await build()), "info cpus", 1)


def test_every_argument_of_every_command_has_a_type() -> None:
    load()

    commands = in_order(COMMANDS) + in_order(INFO_COMMANDS)

    assert all(isinstance(each.type, ArgumentType) for command in commands for each in command.parameters)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted({*COMMANDS} - AFFECTING_THE_HOST)),
    rest=st.text(alphabet="abx019 -/$()'\"\\,=.:+*%", max_size=20),
)
async def test_any_arguments_give_text(session: Session, name: str, rest: str) -> None:
    text = await session.run(f"{name} {rest}")

    assert "internal error" not in text
    assert not text or text.endswith("\n")
