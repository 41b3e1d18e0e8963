# SPDX-License-Identifier: GPL-2.0-or-later
"""Help, and what this is."""

from __future__ import annotations

from asyncemu import __version__
from asyncemu.monitor.hmp.arguments import CommandName, InfoName
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import COMMANDS, INFO_COMMANDS, hmp_command


@hmp_command("help|?", "[cmd]", "show the help")
async def help(session: Session, name: CommandName | None = None) -> None:
    """Of all commands, or of one; ``help info`` of all that there is to know."""
    words = (name or "").split()
    if not words:
        session.print_help(COMMANDS)
        return
    table = COMMANDS
    if words[0] == "info":
        table = INFO_COMMANDS
        del words[0]
        if not words:
            session.print_help(table)
            return
    found = table.get(words[0])
    if found is None:
        session.print(f"unknown command: '{name}'\n")
    else:
        session.print(found.describe())


@hmp_command("info", "[subcommand]", "show various information about the system state")
async def info(session: Session, subject: InfoName | None = None) -> None:
    """Here for ``help``: Session looks for the subject itself."""
    session.print_help(INFO_COMMANDS)


@hmp_command("info version", "", "show the version of QEMU")
async def info_version(session: Session) -> None:
    """The QEMU whose behaviour this is, and our own version."""
    version = await session.qmp("query-version")
    numbers = version["qemu"]
    session.print(f"{numbers['major']}.{numbers['minor']}.{numbers['micro']} (asyncemu {__version__})\n")


@hmp_command("info name", "", "show the current VM name")
async def info_name(session: Session) -> None:
    """QMP: query-name."""
    name = (await session.qmp("query-name")).get("name")
    if name:
        session.print(f"{name}\n")


@hmp_command("info uuid", "", "show the current VM UUID")
async def info_uuid(session: Session) -> None:
    """QMP: query-uuid."""
    session.print(f"{(await session.qmp('query-uuid'))['UUID']}\n")


@hmp_command("info kvm", "", "show KVM information")
async def info_kvm(session: Session) -> None:
    """QMP: query-kvm."""
    kvm = await session.qmp("query-kvm")
    state = ("enabled" if kvm["enabled"] else "disabled") if kvm["present"] else "not compiled"
    session.print(f"kvm support: {state}\n")


@hmp_command("info history", "", "show the command line history")
async def info_history(session: Session) -> None:
    """Nothing where lines are not typed."""
    for index, line in enumerate(session.history or ()):
        session.print(f"{index}: '{line}'\n")
