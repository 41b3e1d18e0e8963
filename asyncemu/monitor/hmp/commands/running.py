# SPDX-License-Identifier: GPL-2.0-or-later
"""Let the machine run, stop, reset, end; choose the vCPU that is meant."""

from __future__ import annotations

from asyncemu.monitor.hmp.arguments import Number32
from asyncemu.monitor.hmp.scanner import LineFault
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command


@hmp_command("cont|c", "", "resume emulation")
async def cont(session: Session) -> None:
    """QMP: cont."""
    await session.qmp("cont")


@hmp_command("stop|s", "", "stop emulation")
async def stop(session: Session) -> None:
    """QMP: stop."""
    await session.qmp("stop")


@hmp_command("system_reset", "", "reset the system")
async def system_reset(session: Session) -> None:
    """QMP: system_reset."""
    await session.qmp("system_reset")


@hmp_command("system_powerdown", "", "send system power down event")
async def system_powerdown(session: Session) -> None:
    """QMP: system_powerdown."""
    await session.qmp("system_powerdown")


@hmp_command("quit|q", "", "quit the emulator")
async def quit(session: Session) -> None:
    """QMP: quit."""
    await session.qmp("quit")


@hmp_command("nmi", "", "inject an NMI")
async def nmi(session: Session) -> None:
    """QMP: inject-nmi."""
    await session.qmp("inject-nmi")


@hmp_command("cpu", "index", "set the default CPU")
async def cpu(session: Session, index: Number32) -> None:
    """Registers and virtual addresses are those of that vCPU from now on."""
    if index >= len(session.machine.vcpus):
        raise LineFault("invalid CPU index")
    session.cpu_index = index


@hmp_command("info status", "", "show the current VM status (running|paused)")
async def info_status(session: Session) -> None:
    """QMP: query-status."""
    status = await session.qmp("query-status")
    state = "running" if status["running"] else "paused"
    reason = status["status"]
    session.print(f"VM status: {state}{f' ({reason})' if reason not in ('running', 'paused') else ''}\n")


@hmp_command("info cpus", "", "show infos for each CPU")
async def info_cpus(session: Session) -> None:
    """QMP: query-cpus-fast. The vCPU that is meant has a star."""
    for each in await session.qmp("query-cpus-fast"):
        mark = "*" if each["cpu-index"] == session.cpu_index else " "
        session.print(f"{mark} CPU #{each['cpu-index']}: thread_id={each['thread-id']}\n")
