# SPDX-License-Identifier: GPL-2.0-or-later
"""Datagram sockets made from addresses: two ends that know each other, a group of many, or one that we were given."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any, Final

from asyncemu import own_sockets
from asyncemu.errors import ConfigError
from asyncemu.net.backend import NetBackend
from asyncemu.net.frame import Frames
from asyncemu.net.sockets.address import Address, Descriptor, Unix, adopt, resolve
from asyncemu.net.sockets.datagram_socket import DatagramSocket
from asyncemu.socket_address import Inet, remove_stale, socket_name

#: struct ip_mreq: ip(7).
_GROUP: Final = struct.Struct("4s4s")


class DatagramEnd:
    """Home: the netdev's. What is left out of ``local`` and ``remote`` is None; see ``Dgram``'s options."""

    def __init__(
        self,
        netdev: NetBackend[Any],
        local: Address | None,
        remote: Inet | Unix | None,
        only_group: bool = False,
    ) -> None:
        """``only_group``: ``remote`` must be a group's address."""
        self._only_group = only_group
        self.netdev = netdev
        self.local = local
        self.remote = remote
        #: None until it is open.
        self.link: DatagramSocket | None = None
        self._socket_file: tuple[Path, os.stat_result] | None = None

    async def open(self) -> None:
        """Make the socket. Raises ConfigError, NetError."""
        group = await self._group() if isinstance(self.remote, Inet) else None
        if group is not None:
            made, remote = await self._join(group), group
        else:
            made, remote = await self._bind()
        self.link = DatagramSocket(self.netdev, made, remote)
        self.link.start()

    async def run(self) -> None:
        """Nothing goes on by itself."""

    def transmit(self, frames: Frames) -> int:
        """How many were taken."""
        return self.link.transmit(frames) if self.link is not None else len(frames)

    def writable(self) -> None:
        """The guest takes frames again."""
        if self.link is not None:
            self.link.writable()

    def close(self) -> None:
        """Give everything back; may be called again."""
        if self.link is not None:
            self.link.close()
        if self._socket_file is not None:
            path, made = self._socket_file
            self._socket_file = None
            if path.exists() and os.path.samestat(path.stat(), made):
                path.unlink()

    # ---- multicast

    async def _group(self) -> tuple[str, int] | None:
        """The remote address if it is a group's."""
        assert isinstance(self.remote, Inet)
        family, resolved = (await resolve(self.remote, socket.SOCK_DGRAM, self.netdev.id))[0]
        if family == socket.AF_INET and socket.inet_aton(resolved[0])[0] & 0xF0 == 0xE0:
            return (resolved[0], resolved[1])
        if self._only_group:
            raise ConfigError(self.netdev.id, f"{self.remote} is not a multicast address", "they begin at 224.0.0.0")
        return None

    async def _join(self, group: tuple[str, int]) -> socket.socket:
        """Everybody who is bound to the group's port gets all frames, its own too; as QEMU's."""
        if isinstance(self.local, Descriptor):
            return adopt(self.local, socket.SOCK_DGRAM, self.netdev.id)
        interface = socket.inet_aton("0.0.0.0")
        if isinstance(self.local, Inet):
            inet = self.local._replace(family=socket.AF_INET)
            interface = socket.inet_aton((await resolve(inet, socket.SOCK_DGRAM, self.netdev.id))[0][1][0])
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(group)
            made.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _GROUP.pack(socket.inet_aton(group[0]), interface)
            )
            # Other machines on this host are to hear us.
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            if self.local is not None:
                made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        except OSError as error:
            made.close()
            raise self.netdev.failed(error, f"join group {group[0]}:{group[1]}") from error
        return made

    # ---- two ends

    async def _bind(self) -> tuple[socket.socket, Any]:
        local = self.local
        if isinstance(local, Descriptor):
            return adopt(local, socket.SOCK_DGRAM, self.netdev.id), None
        if isinstance(local, Unix):
            return self._bind_unix(local)
        assert isinstance(local, Inet) and isinstance(self.remote, Inet)  # the options were checked
        family, to = (await resolve(self.remote, socket.SOCK_DGRAM, self.netdev.id))[0]
        own = local if local.family else local._replace(family=family)
        own_family, at = (await resolve(own, socket.SOCK_DGRAM, self.netdev.id, socket.AI_PASSIVE))[0]
        if own_family != family:
            raise ConfigError(self.netdev.id, f"{local} and {self.remote} are of different families")
        made = socket.socket(family, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(at)
        except OSError as error:
            made.close()
            raise self.netdev.failed(error, f"bind to {local}") from error
        # A guest on another network must not put frames on this one.
        own_sockets.register(made)
        self.local = local._replace(port=made.getsockname()[1])
        return made, to

    def _bind_unix(self, local: Unix) -> tuple[socket.socket, str]:
        assert isinstance(self.remote, Unix)  # the options were checked
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            remove_stale(local.path)
            # Before bind: Linux makes the file with the socket's own mode. It is for its owner only.
            os.fchmod(made.fileno(), 0o600)
            made.bind(socket_name(local.path))
            self._socket_file = (local.path, local.path.stat())
            return made, socket_name(self.remote.path)
        except OSError as error:
            made.close()
            raise self.netdev.failed(error, f"bind to {local}") from error
