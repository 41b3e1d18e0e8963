# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine's NBD server. What it exports is block_exports.py's."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from asyncemu.block.nbd.address import Address, InetAddress, UnixAddress
from asyncemu.host_file import checked_name
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.commands.socket_addresses import SocketAddressLegacy, UnixSocketAddressWrapper
from asyncemu.monitor.errors import QmpError
from asyncemu.wire_model import WireModel

#: TCP's; and characters of a service's name, which has 15 at most (RFC 6335 5.1).
_MAX_PORT: Final = 65535
_MAX_PORT_NAME: Final = 15


class NbdServerStartArguments(WireModel):
    """Of nbd-server-start."""

    addr: SocketAddressLegacy
    #: Id of an object tls-creds-x509.
    tls_creds: str | None = None
    #: Clients at once; 0: any number.
    max_connections: int = Field(default=100, ge=0, le=(1 << 32) - 1)


class NbdServerAddArguments(WireModel):
    """Of nbd-server-add."""

    name: str | None = None
    description: str | None = None
    #: A device's id, or a node's name.
    device: str
    writable: bool = False
    bitmap: str | None = None


class NbdServerRemoveArguments(WireModel):
    """Of nbd-server-remove."""

    name: str
    mode: Literal["safe", "hard"] = "safe"


@command("nbd-server-start")
async def nbd_server_start(call: Call, arguments: NbdServerStartArguments) -> None:
    """Listen. There is one server, for all exports."""
    machine = call.control.machine
    address = _address(arguments.addr, machine.block.directory)
    await machine.exports.start(address, arguments.max_connections, arguments.tls_creds)


@command("nbd-server-stop")
async def nbd_server_stop(call: Call) -> None:
    """Close the server, and all exports with it."""
    await call.control.machine.exports.stop()


@command("nbd-server-add")
async def nbd_server_add(call: Call, arguments: NbdServerAddArguments) -> None:
    """Export a disk. Deprecated by QEMU: block-export-add says more."""
    await call.control.machine.exports.nbd_server_add(
        arguments.device, arguments.name, arguments.description or "", arguments.writable, arguments.bitmap
    )


@command("nbd-server-remove")
async def nbd_server_remove(call: Call, arguments: NbdServerRemoveArguments) -> None:
    """End an export. Deprecated by QEMU: block-export-del."""
    await call.control.machine.exports.nbd_server_remove(arguments.name, arguments.mode)


def _address(given: SocketAddressLegacy, directory: Path | None) -> Address:
    if isinstance(given, UnixSocketAddressWrapper):
        try:
            return UnixAddress(checked_name(given.data.path, directory))
        except ValueError as error:
            raise QmpError(f"'{given.data.path}' {error}") from error
    host, port = given.data.host, given.data.port
    if len(port) > _MAX_PORT_NAME or (port.isdecimal() and int(port) > _MAX_PORT):
        # The C library would take the lower 16 bits.
        raise QmpError(f"address resolution failed for {host}:{port}: there is no such port")
    family = socket.AF_UNSPEC
    if given.data.ipv4 is not given.data.ipv6:
        # One that is denied leaves the other.
        only_ipv4 = given.data.ipv4 if given.data.ipv4 is not None else not given.data.ipv6
        family = socket.AF_INET if only_ipv4 else socket.AF_INET6
    return InetAddress(host, port, family)
