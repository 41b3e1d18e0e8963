# SPDX-License-Identifier: GPL-2.0-or-later
"""What hostfwd and guestfwd say, in QEMU's syntax: doors into the guest's network, and programs behind addresses in it.

    hostfwd     tcp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT     udp:...     unix:PATH-[GUESTADDR]:GUESTPORT
    guestfwd    tcp:[SERVER]:PORT-cmd:PROGRAM ARGUMENTS     -tcp:HOST:PORT     -unix:PATH     -chardev:ID
                                                             -python:FILE.py:FUNCTION

An IPv6 address is in brackets. An empty HOSTADDR is 127.0.0.1 here (docs/decisions/0012-hostfwd-loopback.md), an empty
GUESTADDR the guest's, whichever it has, an empty SERVER the network's fourth address, as in QEMU.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Literal, NamedTuple

#: Who may come in when the user does not say: this machine only.
LOOPBACK: Final = "127.0.0.1"

_HOST: Final = r"(\[[0-9A-Fa-f:.]*\]|[^:\[\]]*)"
_HOSTFWD: Final = re.compile(rf"(tcp|udp):{_HOST}:([0-9]{{1,5}})-{_HOST}:([0-9]{{1,5}})")
_UNIX_HOSTFWD: Final = re.compile(rf"unix:(.+)-{_HOST}:([0-9]{{1,5}})", re.DOTALL)
_GUESTFWD: Final = re.compile(rf"tcp:{_HOST}:([0-9]{{1,5}})-(cmd|tcp|unix|chardev|python):(.+)", re.DOTALL)
_TARGET: Final = re.compile(rf"{_HOST}:([0-9]{{1,5}})")


class HostForward(NamedTuple):
    """``protocol`` at ``host`` and ``host_port`` (or at ``path``) leads to the guest's port.

    Addresses of 4 or 16 bytes; None: the guest's own, whichever it is.
    """

    protocol: Literal["tcp", "udp", "unix"]
    host: str
    host_port: int
    path: str
    guest: bytes | None
    guest_port: int

    def __str__(self) -> str:
        if self.protocol == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.protocol}:{host}:{self.host_port}"


class GuestForward(NamedTuple):
    """A TCP port of ``server`` (None: the network's fourth address) for the guest, and what is behind it."""

    server: bytes | None
    port: int
    kind: Literal["cmd", "tcp", "unix", "chardev", "python"]
    target: str


def parse_hostfwd(text: str) -> HostForward:
    """Raises ValueError in a user's words."""
    found = _HOSTFWD.fullmatch(text)
    if found is not None:
        protocol, host, host_port, guest, guest_port = found.groups()
        host_address = _bare(host) or LOOPBACK
        _address(host_address)
        return HostForward(
            "tcp" if protocol == "tcp" else "udp",
            host_address,
            _port(host_port, zero=True),
            "",
            _address(_bare(guest)) if _bare(guest) else None,
            _port(guest_port),
        )
    found = _UNIX_HOSTFWD.fullmatch(text)
    if found is None:
        raise ValueError("is not a forward; write tcp:127.0.0.1:2222-:22, udp:... or unix:PATH-:22")
    path, guest, guest_port = found.groups()
    return HostForward("unix", "", 0, path, _address(_bare(guest)) if _bare(guest) else None, _port(guest_port))


def parse_guestfwd(text: str) -> GuestForward:
    """Raises ValueError in a user's words."""
    found = _GUESTFWD.fullmatch(text)
    if found is None:
        raise ValueError("is not a forward; write tcp:10.0.2.100:80-cmd:PROGRAM, or -tcp:, -unix:, -chardev:, -python:")
    server, port, kind, target = found.groups()
    if kind == "tcp":
        parse_target(target)
    elif kind == "python" and not re.fullmatch(r".+\.py:[A-Za-z_]\w*", target, re.DOTALL):
        raise ValueError(f"{target[:60]!r} is no function; write python:FILE.py:FUNCTION")
    return GuestForward(
        _address(_bare(server)) if _bare(server) else None,
        _port(port),
        kind,  # type: ignore[arg-type]  # the pattern has these
        target,
    )


def parse_target(text: str) -> tuple[str, int]:
    """``HOST:PORT`` to connect to. Raises ValueError."""
    found = _TARGET.fullmatch(text)
    if found is None or not _bare(found[1]):
        raise ValueError(f"{text[:60]!r} is no address; write HOST:PORT")
    return _bare(found[1]), _port(found[2])


def _bare(host: str) -> str:
    return host.removeprefix("[").removesuffix("]")


def _address(text: str) -> bytes:
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no IP address") from None


def _port(text: str, *, zero: bool = False) -> int:
    port = int(text)
    if not (0 if zero else 1) <= port <= 65535:
        raise ValueError(f"{port} is no port; there are 1 to 65535")
    return port
