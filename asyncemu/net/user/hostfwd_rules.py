# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a hostfwd, and which door a hostfwd_remove means, in QEMU's words and syntax (net/slirp.c).

A rule of vm.toml is checked in our own words (forwards); these are for a monitor, whose clients know QEMU's.
"""

from __future__ import annotations

import ipaddress
from typing import Literal, NamedTuple

from asyncemu.net.refusals import Refused
from asyncemu.net.user.forwards import LOOPBACK, HostForward, parse_hostfwd


def parse_rule(text: str) -> HostForward:
    """``tcp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT`` and its like. Raises Refused."""
    try:
        return parse_hostfwd(text)
    except ValueError as error:
        raise Refused(f"Invalid host forwarding rule '{text}' ({_reason(text) or error})") from None


def _reason(text: str) -> str:
    """QEMU's, which looks from left to right; empty: QEMU would have taken it."""
    protocol, colon, rest = text.partition(":")
    if not colon:
        return "No : separators"
    if protocol not in ("tcp", "udp"):
        return "Bad protocol name"
    host, colon, rest = _address(rest)
    if not colon:
        return "Missing : separator"
    if host and not _is_address(host):
        return "Bad host address"
    port, dash, rest = rest.partition("-")
    if not dash:
        return "Bad host port separator"
    if not _is_port(port, 0):
        return "Bad host port"
    guest, colon, port = _address(rest)
    if not colon:
        return "Missing guest address"
    if guest and not _is_address(guest):
        return "Bad guest address"
    return "" if _is_port(port, 1) else "Bad guest port"


def _address(text: str) -> tuple[str, str, str]:
    """Up to the colon behind it, which is behind the bracket of an IPv6 address."""
    if not text.startswith("["):
        return text.partition(":")
    host, bracket, rest = text[1:].partition("]")
    return (host, ":", rest[1:]) if bracket and rest.startswith(":") else (host, "", "")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_port(text: str, least: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and least <= int(text) <= 65535


class Door(NamedTuple):
    """Which door: ``tcp:HOSTADDR:HOSTPORT``, ``udp:...`` or ``unix:PATH``."""

    protocol: Literal["tcp", "udp", "unix"]
    #: Of the host; of a unix socket, its path.
    host: str
    port: int

    def is_of(self, forward: HostForward, port: int) -> bool:
        """Is it that of ``forward``, which listens at ``port``?"""
        if self.protocol != forward.protocol:
            return False
        if self.protocol == "unix":
            return self.host == forward.path
        return self.host == forward.host and self.port == port


def parse_door(text: str) -> Door:
    """Raises Refused."""
    protocol, colon, rest = text.partition(":")
    if protocol == "unix" and rest:
        return Door("unix", rest, 0)
    host, second, port = _address(rest)
    if not colon or not second or protocol not in ("tcp", "udp") or not _is_port(port, 0):
        raise Refused("invalid format")
    return Door("tcp" if protocol == "tcp" else "udp", host or LOOPBACK, int(port))
