# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of the user network: QEMU's names; `leases`, `hosts`, `resolvers` and `max-connections` are our own."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from asyncemu.host_path import HostPath, relative_to_config
from asyncemu.net.mac import parse_mac
from asyncemu.net.packets import dns_names
from asyncemu.net.user.addresses import DEFAULT_IPV6_PREFIX, DEFAULT_NETWORK, is_for_a_host
from asyncemu.net.user.forwards import parse_guestfwd, parse_hostfwd
from asyncemu.options import Options

_MAX_NAME: Final = 255


def _that(parse: Callable[[str], object]) -> AfterValidator:
    """Checks a text, and leaves it as it is."""

    def check(value: str) -> str:
        if value:
            parse(value)
        return value

    return AfterValidator(check)


def _network(text: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(text if "/" in text else f"{text}/24", strict=False)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is not an IPv4 network; write 10.0.2.0/24") from None
    if not 8 <= network.prefixlen <= 28:
        raise ValueError(f"{text} has a prefix of {network.prefixlen} bits; 8 to 28 are possible")
    return network


def _ipv4(text: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is not an IPv4 address") from None


def _ipv6(text: str) -> ipaddress.IPv6Address:
    try:
        return ipaddress.IPv6Address(text.split("/")[0])
    except ValueError:
        raise ValueError(f"{text[:60]!r} is not an IPv6 address") from None


def _resolver(text: str) -> tuple[str, int]:
    """An address, with a port where it is not 53."""
    host, _, port = text.rpartition(":") if text.count(":") == 1 or text.startswith("[") else (text, "", "53")
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= 65535):
        raise ValueError(f"{text[:60]!r} has no port; write 192.0.2.1 or 192.0.2.1:53")
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), int(port)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no IP address; write 192.0.2.1 or 192.0.2.1:53") from None


def _domain(text: str) -> bytes:
    try:
        return dns_names.pack(text.removesuffix("."))
    except UnicodeEncodeError:
        raise ValueError(f"{text[:60]!r} has letters that names have not; write it as xn--...") from None


def _any_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no IP address") from None


def _located_hostfwd(text: str, info: ValidationInfo) -> str:
    """With the path of a Unix socket as it is called from here."""
    forward = parse_hostfwd(text)
    if forward.protocol != "unix":
        return text
    path = relative_to_config(Path(forward.path), info)
    return f"unix:{path}{text.removeprefix('unix:').removeprefix(forward.path)}"


def _located_guestfwd(text: str, info: ValidationInfo) -> str:
    """With what its files are called from here."""
    forward = parse_guestfwd(text)
    target = forward.target
    if forward.kind == "python":
        file, _, function = target.rpartition(":")
        target = f"{relative_to_config(Path(file), info)}:{function}"
    elif forward.kind == "unix":
        target = str(relative_to_config(Path(target), info))
    return text.removesuffix(forward.target) + target


class UserOptions(Options):
    """Options of user."""

    restrict: bool = Field(default=False, description="Let nothing out but what hostfwd and guestfwd name.")
    ipv4: bool = Field(default=True, description="Is there IPv4?")
    ipv6: bool = Field(default=True, description="Is there IPv6?")
    net: Annotated[str, _that(_network)] = Field(default=DEFAULT_NETWORK, description="The guest's IPv4 network.")
    host: Annotated[str, _that(_ipv4)] = Field(default="", description="Our address in it; empty: its second.")
    hostname: str = Field(default="", max_length=_MAX_NAME, description="What DHCP tells the guest it is called.")
    tftp: HostPath | None = Field(default=None, description="Folder whose files are served by TFTP, to read.")
    tftp_server_name: str = Field(default="", max_length=_MAX_NAME, description="What DHCP calls the TFTP server.")
    bootfile: str = Field(default="", max_length=_MAX_NAME, description="The file that DHCP says to boot.")
    dhcpstart: Annotated[str, _that(_ipv4)] = Field(
        default="", description="First address that DHCP gives away, of 16; empty: the network's 15th."
    )
    dns: Annotated[str, _that(_ipv4)] = Field(default="", description="The DNS server's address; empty: the third.")
    dnssearch: list[Annotated[str, _that(_domain)]] = Field(
        default=[], max_length=32, description="Domains that names are looked up in."
    )
    domainname: str = Field(default="", max_length=_MAX_NAME, description="The guest's domain, by DHCP.")
    ipv6_prefix: Annotated[str, _that(_ipv6)] = Field(
        default=DEFAULT_IPV6_PREFIX, description="The guest's IPv6 network; /64 may follow."
    )
    ipv6_prefixlen: int = Field(default=64, ge=0, le=126, description="Bits of it; 64 for guests without DHCPv6.")
    ipv6_host: Annotated[str, _that(_ipv6)] = Field(default="", description="Our address in it; empty: its second.")
    ipv6_dns: Annotated[str, _that(_ipv6)] = Field(default="", description="The DNS server's; empty: its third.")
    hostfwd: list[Annotated[str, AfterValidator(_located_hostfwd)]] = Field(
        default=[], max_length=256, description="Ports of the host that lead to the guest: tcp:127.0.0.1:2222-:22."
    )
    guestfwd: list[Annotated[str, AfterValidator(_located_guestfwd)]] = Field(
        default=[],
        max_length=256,
        description="What is behind an address for the guest: tcp:10.0.2.100:80-cmd:PROGRAM.",
    )
    leases: dict[Annotated[str, _that(parse_mac)], Annotated[str, _that(_ipv4)]] = Field(
        default={}, max_length=256, description="MAC address = IPv4 address, for guests that always get the same."
    )
    hosts: dict[Annotated[str, _that(_domain)], list[Annotated[str, _that(_any_address)]]] = Field(
        default={}, max_length=1024, description="Name = [addresses]: names that only the guest knows."
    )
    resolvers: list[Annotated[str, _that(_resolver)]] = Field(
        default=[], max_length=3, description="DNS servers to ask; empty: those of /etc/resolv.conf."
    )
    max_connections: int = Field(
        default=2048, ge=1, le=65536, description="TCP connections at a time, and as many UDP sockets."
    )

    @field_validator("host", "dhcpstart", "dns", "leases")
    @classmethod
    def _in_network(cls, value: str | dict[str, str], info: ValidationInfo) -> str | dict[str, str]:
        if "net" not in info.data:
            return value
        network = _network(info.data["net"])
        for text in value.values() if isinstance(value, dict) else (value,):
            if text and not is_for_a_host(_ipv4(text), network):
                raise ValueError(f"{text} is not an address of a host in {network}")
        return value

    @field_validator("dns")
    @classmethod
    def _not_the_host(cls, value: str, info: ValidationInfo) -> str:
        if value and value == info.data.get("host"):
            raise ValueError(f"{value} is the address of host, too")
        return value

    @field_validator("ipv6_prefixlen", mode="before")
    @classmethod
    def _not_twice(cls, value: object, info: ValidationInfo) -> object:
        text = info.data.get("ipv6_prefix", "").partition("/")[2]
        if text and str(value) != text:
            raise ValueError(f"is {value}, and ipv6-prefix says {text}")
        return value

    def names_in_texts(self) -> Iterator[tuple[str, str, str]]:
        """(Key, table, name): the chardevs of guestfwd."""
        for index, text in enumerate(self.guestfwd):
            forward = parse_guestfwd(text)
            if forward.kind == "chardev":
                yield f"guestfwd[{index}]", "chardev", forward.target

    @property
    def network(self) -> ipaddress.IPv4Network:
        """``net``."""
        return _network(self.net)

    @property
    def resolver_addresses(self) -> list[tuple[str, int]]:
        """``resolvers``."""
        return [_resolver(text) for text in self.resolvers]
