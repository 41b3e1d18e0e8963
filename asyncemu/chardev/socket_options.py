# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of the back end ``socket``; names are those of QEMU's -chardev."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from asyncemu.chardev.address import AbstractName, InetAddress
from asyncemu.chardev.chardev import ChardevOptions
from asyncemu.host_path import HostPath
from asyncemu.options import Options

Port = Annotated[int, Field(ge=0, le=65535)]


class TlsTable(Options):
    """``tls-creds`` as a table. QEMU: tls-creds-x509, whose ``endpoint`` is what ``server`` says."""

    dir: HostPath = Field(description="Folder with ca-cert.pem, server-cert.pem, server-key.pem or client-*.pem.")
    verify_peer: bool = Field(default=True, description="Refuse a peer that the authority does not vouch for.")


class SocketOptions(ChardevOptions):
    """Keys of ``backend = "socket"``: ``path``, or ``host`` and ``port``, or ``fd``."""

    path: HostPath | None = Field(
        default=None, description="Unix socket; a server's is for its owner alone (mode 0600)."
    )
    abstract: str | None = Field(
        default=None, description="Unix socket without a file, by its name; any user of this host may connect."
    )
    tight: bool = Field(default=True, description="With abstract: the name is not filled up with zeros.")
    host: str = Field(default="", description="Host name or address; a server without one listens for this host alone.")
    port: Port | None = Field(default=None, description="TCP port; 0 makes a server take any free one.")
    to: Port | None = Field(default=None, description="Server: try the ports after `port` up to this one.")
    ipv4: bool = Field(default=False, description="IPv4 only.")
    ipv6: bool = Field(default=False, description="IPv6 only.")
    fd: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Descriptor of a stream socket that asyncemu is started with: listening or connected."
    )
    server: bool = Field(default=False, description="Listen rather than connect.")
    wait: bool | None = Field(
        default=None, description="Server: start the machine when a client is there (default: true)."
    )
    reconnect: float = Field(default=0, ge=0, description="Client: seconds until it tries again; 0 is never.")
    nodelay: bool = Field(default=False, description="TCP: send each piece at once (no Nagle algorithm).")
    telnet: bool = Field(default=False, description="Server: for telnet clients, in character mode.")
    websocket: bool = Field(default=False, description="Server: for WebSocket clients.")
    token: str | None = Field(
        default=None,
        min_length=1,
        repr=False,
        description="With websocket: clients must present it (Authorization: Bearer TOKEN).",
    )
    tls_creds: str | TlsTable | None = Field(
        default=None, description="TCP: TLS with these credentials: their id, or a table with dir and verify-peer."
    )

    @model_validator(mode="after")
    def _consistent(self) -> SocketOptions:
        self._check_address()
        if self.to is not None and (not self.server or self.port is None or self.to < self.port):
            raise ValueError("to is for a server, and not below port")
        if self.server and self.reconnect:
            raise ValueError("reconnect is for a client, not with server = true")
        if not self.server and self.wait is not None:
            raise ValueError("wait is for a server, not without server = true")
        if not self.server and self.port is not None and not self.host:
            raise ValueError("a client needs host")
        self._check_protocol()
        return self

    def _check_address(self) -> None:
        addresses = (self.path, self.abstract, self.port, self.fd)
        if sum(address is not None for address in addresses) != 1:
            raise ValueError("needs one of path or abstract (unix socket), port (TCP) and fd")
        if self.abstract is not None and not _is_unicode(self.abstract):
            raise ValueError("abstract has a character that no name has")
        of_tcp = self.host or self.to is not None or self.nodelay or self.ipv4 or self.ipv6
        if self.path is not None and of_tcp:
            raise ValueError("host, to, ipv4, ipv6 and nodelay are for TCP, not for a path")
        if self.port is None and of_tcp:
            raise ValueError("host, to, ipv4, ipv6 and nodelay are for TCP")
        if self.fd is not None and self.reconnect:
            raise ValueError("reconnect is not for a socket that is given by its descriptor")

    def _check_protocol(self) -> None:
        if self.telnet and self.websocket:
            raise ValueError("telnet and websocket are two protocols, choose one")
        if (self.telnet or self.websocket) and not self.server:
            raise ValueError("telnet and websocket are for a server, not without server = true")
        if self.token is not None and not self.websocket:
            raise ValueError("token is for websocket = true")
        if self.token is not None and not self.token.isascii():
            raise ValueError("token is not ASCII")
        if self.tls_creds is not None and self.port is None:
            raise ValueError("tls-creds is for TCP")

    def unix_address(self) -> Path | AbstractName | None:
        """Of a unix socket."""
        return AbstractName(self.abstract, self.tight) if self.abstract is not None else self.path

    def inet_address(self) -> InetAddress:
        """Of a TCP socket: there is a ``port``."""
        family = socket.AF_UNSPEC
        if self.ipv4 != self.ipv6:
            family = socket.AF_INET if self.ipv4 else socket.AF_INET6
        assert self.port is not None
        return InetAddress(self.host, self.port, self.to or self.port, family)


def _is_unicode(text: str) -> bool:
    """Not so with half of a surrogate pair: JSON can spell it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
