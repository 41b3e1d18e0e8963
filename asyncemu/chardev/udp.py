# SPDX-License-Identifier: GPL-2.0-or-later
"""udp: what is written goes out in datagrams, and datagrams that come in are read as a stream (RFC 768).

The socket is connected: only the one at ``host`` and ``port`` is heard. Whether somebody is there nobody knows, so its
other end counts as there; what nobody takes is lost, as is what comes while the front end has no room for it.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from asyncemu.chardev.address import InetAddress, UnknownHost
from asyncemu.chardev.chardev import Chardev, ChardevOptions
from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.errors import ConfigError

#: Payload of a datagram at most: 65535 less the headers of IPv4 and UDP.
MAX_DATAGRAM: Final = 65535 - 20 - 8

Port = Annotated[int, Field(ge=0, le=65535)]


class UdpOptions(ChardevOptions):
    """Keys of ``backend = "udp"``."""

    host: str = Field(default="localhost", min_length=1, description="Where datagrams go, and come from.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="Its port.")
    localaddr: str = Field(default="", description="Own address; by default what suits the host.")
    localport: Port = Field(default=0, description="Own port; 0 is any free one.")
    ipv4: bool = Field(default=False, description="IPv4 only.")
    ipv6: bool = Field(default=False, description="IPv6 only.")

    @model_validator(mode="after")
    def _consistent(self) -> UdpOptions:
        if self.ipv4 and self.ipv6:
            raise ValueError("ipv4 and ipv6 exclude each other")
        return self


class Udp(Chardev[UdpOptions], name="udp"):
    """``address`` is its own: ``127.0.0.1:50000``."""

    description = "Datagrams of UDP, to and from one address."

    address = ""

    _socket: socket.socket | None = None
    _reading = False
    #: The rest of a datagram that the front end had no room for.
    _rest = b""

    async def connect(self) -> None:
        """Make the socket. Raises ConfigError, ChardevError."""
        options = self.options
        family = socket.AF_INET if options.ipv4 else socket.AF_INET6 if options.ipv6 else socket.AF_UNSPEC
        remote = InetAddress(options.host, options.port, options.port, family)
        try:
            family, address = (await remote.resolve(self.context.loop, socket.SOCK_DGRAM))[0]
            local = None
            if options.localaddr or options.localport:
                own = options.localaddr or _any_address(family, address)
                local_name = InetAddress(own, options.localport, options.localport, family)
                local = (await local_name.resolve(self.context.loop, socket.SOCK_DGRAM))[0][1]
        except UnknownHost as error:
            raise ConfigError(f"chardev {self.id!r}", str(error)) from error
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            if local is not None:
                self._socket.bind(local)
            self._socket.connect(address)
        except OSError as error:
            raise self.failed(error, f"talk to {remote}") from error
        host, port = self._socket.getsockname()[:2]
        self.address = str(InetAddress(host, port, port))
        self.event(ChardevEvent.OPENED)
        self.resume_input()

    # ---- in

    def resume_input(self) -> None:
        if self._socket is None or self._reading:
            return
        self._deliver_rest()
        if not self._rest and self.room() > 0:
            self._reading = True
            self.context.loop.add_reader(self._socket.fileno(), self._readable)

    def _stop_reading(self) -> None:
        if self._reading and self._socket is not None:
            self._reading = False
            self.context.loop.remove_reader(self._socket.fileno())

    def _readable(self) -> None:
        if self._socket is None:
            return
        if self.room() <= 0:
            self._stop_reading()
            return
        try:
            self._rest = self._socket.recv(MAX_DATAGRAM)
        except OSError:
            self._watch_again()
            return
        self._deliver_rest()
        if self._rest or self.room() <= 0:
            self._stop_reading()

    def _watch_again(self) -> None:
        """After ECONNREFUSED, which tells of what was sent, and is no news: libuv has ended its watch for it."""
        if self._reading:
            self._stop_reading()
            self.resume_input()

    def _deliver_rest(self) -> None:
        while self._rest and (room := self.room()) > 0:
            # Taken out first: the front end may ask for more from within.
            data, self._rest = self._rest[:room], self._rest[room:]
            self.deliver(data)

    # ---- out

    def transmit(self, data: bytes) -> int:
        """Each write in a datagram of its own; what doesn't go at once is lost, as UDP has it."""
        if self._socket is not None:
            for start in range(0, len(data), MAX_DATAGRAM):
                try:
                    self._socket.send(data[start : start + MAX_DATAGRAM])
                except BlockingIOError:
                    continue
                except OSError:
                    self._watch_again()
        return len(data)

    async def disconnect(self) -> None:
        """Close the socket."""
        self._stop_reading()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._rest = b""


def _any_address(family: socket.AddressFamily, remote: tuple[Any, ...]) -> str:
    """Own address for who names a port only: it hears this host alone when it talks to this host."""
    ip = ipaddress.ip_address(remote[0].partition("%")[0])
    if ip.is_loopback:
        return "127.0.0.1" if family == socket.AF_INET else "::1"
    return "0.0.0.0" if family == socket.AF_INET else "::"
