# SPDX-License-Identifier: GPL-2.0-or-later
"""The server: from the sockets to the last client, or to a signal.

    listen → open the image → offer it → tell who waits for that → serve → close all

It listens first: clients that come while the image is being opened wait, and what is wrong with an address is said
before the image is touched. QEMU: qemu-nbd.c.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING, Final

from asyncemu.block.flags import FUA
from asyncemu.block.nbd.address import Address, InetAddress, UnixAddress, listen, unlink
from asyncemu.block.nbd.export import NbdExport, bitmap_refusal, export_backend
from asyncemu.block.nbd.server import NbdServer
from asyncemu.cli.nbd.daemon import FIRST_ACTIVATED, socket_label, started, write_pid_file
from asyncemu.cli.nbd.exported import open_exported
from asyncemu.cli.nbd.settings import DEFAULT_PORT, Settings
from asyncemu.cli.tools.failure import ToolError, in_qemus_words
from asyncemu.cli.tools.opening import SECTOR
from asyncemu.cli.tools.report import report
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.errors import ConfigError

if TYPE_CHECKING:
    from asyncemu.block.backend import BlockBackend
    from asyncemu.block.nbd.tls import TlsCredentials

#: Where it listens, and lists, when nobody says otherwise.
_ANY_INTERFACE: Final = "0.0.0.0"

#: Bytes of a Unix socket's path, with the zero behind it. Linux: unix(7).
_SUN_PATH: Final = 108


def serve(settings: Settings, credentials: TlsCredentials | None, activated: int) -> int:
    """Serve; the exit status. ``activated``: the sockets that a service manager has made."""

    async def main(session: ToolSession) -> int:
        return await _serve(session, settings, credentials, activated)

    return run_tool(main, settings.objects, throughput=True)


def address_of(settings: Settings) -> Address:
    """Where the settings say. ToolError."""
    path = settings.socket_path
    if path is not None:
        if len(os.fsencode(path)) >= _SUN_PATH:
            hint = f"Path must be less than {_SUN_PATH} bytes"
            raise ToolError(f"UNIX socket path '{path}' is too long", hint=hint)
        return UnixAddress(path)
    return InetAddress(settings.interface or _ANY_INTERFACE, settings.port or DEFAULT_PORT)


async def _serve(session: ToolSession, settings: Settings, credentials: TlsCredentials | None, activated: int) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    listeners = await _listen(settings, activated)
    try:
        node = await open_exported(session, settings)
        if node.size % SECTOR:
            from asyncemu.cli.nbd.whole_sectors import WholeSectors

            backend: BlockBackend = WholeSectors("", session.context, writable=not node.read_only)
        else:
            backend = export_backend("", session.context, writable=not node.read_only)
        await backend.insert(node)
        if settings.cache_mode.writethrough:
            backend.write_flags = FUA
        export = await _export(settings, backend)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise

    def left(negotiated: bool) -> None:
        # Who only looked at the list of exports does not count.
        if negotiated and not settings.persistent and not server.clients:
            ended.set()

    server = NbdServer(
        session.context, max_connections=settings.shared, tls=credentials, report=report, on_client_closed=left
    )
    pid_file = None
    try:
        server.add(export)
        for listener in listeners:
            server.listen_on(listener)
        if settings.pid_file is not None:
            # It stays open, as the lock goes with it; and stays behind, as qemu-nbd's.
            pid_file = await write_pid_file(settings.pid_file)
        started(settings)
        await ended.wait()
    finally:
        await server.close()
        await backend.remove()
        if pid_file is not None:
            await pid_file.close()
        if settings.socket_path is not None and not activated:
            unlink(settings.socket_path)
    return 0


async def _listen(settings: Settings, activated: int) -> list[socket.socket]:
    if activated:
        return [socket.socket(fileno=FIRST_ACTIVATED)]
    backlog = min(settings.shared, socket.SOMAXCONN) if settings.shared else socket.SOMAXCONN
    with socket_label(settings.selinux_label):
        return await listen(address_of(settings), backlog)


async def _export(settings: Settings, backend: BlockBackend) -> NbdExport:
    for name in settings.bitmaps:
        raise ToolError(await bitmap_refusal(backend.node, name))
    try:
        return NbdExport(
            settings.export_name or "",
            backend,
            description=settings.description or "",
            read_only=settings.read_only,
            allocation_depth=settings.allocation_depth,
        )
    except ConfigError as error:
        raise ToolError(in_qemus_words(error)) from error
