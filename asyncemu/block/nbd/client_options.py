# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of the ``nbd`` driver. QEMU: BlockdevOptionsNbd, SocketAddress."""

from __future__ import annotations

import socket
from typing import Any, Literal

from asyncemu.block.driver import BlockDriverOptions
from asyncemu.block.nbd.address import Address, InetAddress, UnixAddress
from asyncemu.block.nbd.constants import DEFAULT_PORT
from asyncemu.errors import ConfigError
from asyncemu.host_file import HostFile
from asyncemu.plain_options import PlainOptions, option


class ServerOptions(PlainOptions):
    """Where a server is."""

    type_: Literal["inet", "unix"] = option(description="TCP, or a Unix socket.")
    host: str = option(default="", description="With inet: a name or an address.")
    port: str = option(default="", description="With inet: a number or a service's name.")
    path: HostFile = option(default="", description="With unix: the socket.")
    ipv4: bool = option(default=True, description="With inet: may it be IPv4?")
    ipv6: bool = option(default=True, description="With inet: may it be IPv6?")


class NbdOptions(BlockDriverOptions):
    """Keys of the ``nbd`` driver; QEMU's names, and ``connections``."""

    server: ServerOptions | None = option(default=None, description="The server.")
    host: str = option(default="", description="Short for server.type = inet and server.host.")
    port: str = option(default="", description="Short for server.port; default: 10809.")
    path: HostFile = option(default="", description="Short for server.type = unix and server.path.")
    export: str = option(default="", description="Name of the export; default: the server's default export.")
    tls_creds: str | dict[str, Any] = option(
        default="", description="Credentials for TLS: their id, or a table with dir and verify-peer."
    )
    tls_hostname: str = option(
        default="", description="Whom the server's certificate must be for; default: the host of the address."
    )
    x_dirty_bitmap: str = option(default="", description="Metadata context to ask about instead of base:allocation.")
    reconnect_delay: int = option(
        default=0, ge=0, description="Seconds for which requests wait when the connection is lost, before they fail."
    )
    open_timeout: int = option(
        default=0, ge=0, description="Seconds for which a server that is not there is tried; 0: once."
    )
    connections: int = option(
        default=1, ge=1, le=16, description="Connections, where the server says that several make sense."
    )


class TlsOptions(PlainOptions):
    """``tls-creds`` as a table. QEMU: tls-creds-x509."""

    dir: str = option(description="Directory with ca-cert.pem, client-cert.pem, client-key.pem.")
    verify_peer: bool = option(default=True, description="Refuse a server that the authority does not vouch for.")


def address_of(options: NbdOptions) -> Address:
    """Where the server is. ConfigError, in QEMU's words."""
    server = options.server
    if server is None:
        if options.path and options.host:
            raise ConfigError("path", "path and host may not be used at the same time")
        if options.path:
            if options.port:
                raise ConfigError("port", "port may not be used without host")
            return UnixAddress(options.path)
        if options.host:
            return InetAddress(options.host, options.port or str(DEFAULT_PORT))
        if options.port:
            raise ConfigError("port", "port may not be used without host")
        raise ConfigError("server", "NBD server address missing")
    if options.path or options.host or options.port:
        raise ConfigError("server", "Cannot use 'server' and path/host/port at the same time")
    if server.type_ == "unix":
        if not server.path:
            raise ConfigError("server.path", "Parameter 'path' is missing")
        return UnixAddress(server.path)
    for key, value in (("host", server.host), ("port", server.port)):
        if not value:
            raise ConfigError(f"server.{key}", f"Parameter '{key}' is missing")
    family = socket.AF_UNSPEC
    if not server.ipv4 or not server.ipv6:
        family = socket.AF_INET6 if server.ipv6 else socket.AF_INET
    return InetAddress(server.host, server.port, family)
