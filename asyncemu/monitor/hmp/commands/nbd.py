# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine's NBD server."""

from __future__ import annotations

from typing import Annotated, Any

from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.hmp.arguments import BlockName, Flag, Text
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command


@hmp_command(
    "nbd_server_start",
    "nbd_server_start [-a] [-w] host:port",
    "serve block devices on the given host and port",
)
async def nbd_server_start(
    session: Session, all: Annotated[bool, Flag("a")], writable: Annotated[bool, Flag("w")], uri: Text
) -> None:
    """QMP: nbd-server-start; ``-a`` exports all disks, too, or fails and leaves no server."""
    if writable and not all:
        raise QmpError("-w only valid together with -a")
    await session.qmp("nbd-server-start", addr=_address(uri))
    if not all:
        return
    try:
        for disk in await session.qmp("query-block"):
            if "inserted" in disk:
                await session.qmp("nbd-server-add", device=disk["device"] or disk["qdev"], writable=writable)
    except QmpError:
        await session.qmp("nbd-server-stop")
        raise


def _address(uri: str) -> dict[str, Any]:
    """QEMU: socket_parse."""
    if uri.startswith("unix:"):
        if not uri[5:]:
            raise QmpError("invalid Unix socket address")
        return {"type": "unix", "data": {"path": uri[5:]}}
    host, colon, port = uri.removeprefix("tcp:").rpartition(":")
    if not colon:
        raise QmpError(f"error parsing address '{uri}'")
    return {"type": "inet", "data": {"host": host.removeprefix("[").removesuffix("]"), "port": port}}


@hmp_command("nbd_server_add", "nbd_server_add [-w] device [name]", "export a block device via NBD")
async def nbd_server_add(
    session: Session, writable: Annotated[bool, Flag("w")], device: BlockName, name: Text | None = None
) -> None:
    """QMP: nbd-server-add."""
    await session.qmp("nbd-server-add", device=device, name=name, writable=writable)


@hmp_command(
    "nbd_server_remove",
    "nbd_server_remove [-f] name",
    "remove an export previously exposed via NBD",
)
async def nbd_server_remove(session: Session, force: Annotated[bool, Flag("f")], name: Text) -> None:
    """QMP: nbd-server-remove."""
    await session.qmp("nbd-server-remove", name=name, mode="hard" if force else "safe")


@hmp_command("nbd_server_stop", "nbd_server_stop", "stop serving block devices using the NBD protocol")
async def nbd_server_stop(session: Session) -> None:
    """QMP: nbd-server-stop."""
    await session.qmp("nbd-server-stop")
