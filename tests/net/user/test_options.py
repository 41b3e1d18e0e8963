# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of the user network: what is said about mistakes, and what the syntax of forwards means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext, Clocks
from asyncemu.net.user.addresses import Addresses
from asyncemu.net.user.backend import UserNetdev
from asyncemu.net.user.forwards import HostForward, parse_guestfwd, parse_hostfwd
from asyncemu.net.user.options import UserOptions
from asyncemu.plugin_options import configure


def checked(**keys: Any) -> UserOptions:
    table = {"id": "net0", "type": "user", **{key.replace("_", "-"): value for key, value in keys.items()}}
    options = configure("netdev", table, "netdev[0]", Path("/vm")).options
    assert isinstance(options, UserOptions)
    return options


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"net": "10.0.2"}, "netdev[0].net: '10.0.2' is not an IPv4 network; write 10.0.2.0/24"),
        ({"net": "10.0.2.0/30"}, "netdev[0].net: 10.0.2.0/30 has a prefix of 30 bits; 8 to 28 are possible"),
        ({"host": "10.0.3.2"}, "netdev[0].host: 10.0.3.2 is not an address of a host in 10.0.2.0/24"),
        ({"host": "gateway"}, "netdev[0].host: 'gateway' is not an IPv4 address"),
        ({"dhcpstart": "10.0.2.255"}, "netdev[0].dhcpstart: 10.0.2.255 is not an address of a host in 10.0.2.0/24"),
        ({"host": "10.0.2.9", "dns": "10.0.2.9"}, "netdev[0].dns: 10.0.2.9 is the address of host, too"),
        ({"ipv6_prefix": "fec0:"}, "netdev[0].ipv6-prefix: 'fec0:' is not an IPv6 address"),
        (
            {"ipv6_prefix": "fec0::/48", "ipv6_prefixlen": 64},
            "netdev[0].ipv6-prefixlen: is 64, and ipv6-prefix says 48",
        ),
        (
            {"hostfwd": ["tcp::22-:22", "tcp:22"]},
            "netdev[0].hostfwd[1]: 'tcp:22' is not a forward; write tcp:127.0.0.1:2222-:22, udp:... or unix:PATH-:22",
        ),
        ({"hostfwd": ["tcp::70000-:22"]}, "netdev[0].hostfwd[0]: 70000 is no port; there are 1 to 65535"),
        ({"hostfwd": ["tcp:localhost:22-:22"]}, "netdev[0].hostfwd[0]: 'localhost' is no IP address"),
        (
            {"guestfwd": ["tcp:10.0.2.100:80-exec:cat"]},
            "netdev[0].guestfwd[0]: 'tcp:10.0.2.100:80-exec:cat' is not a forward;"
            " write tcp:10.0.2.100:80-cmd:PROGRAM, or -tcp:, -unix:, -chardev:, -python:",
        ),
        (
            {"guestfwd": ["tcp:10.0.2.100:80-python:serve.py"]},
            "netdev[0].guestfwd[0]: 'serve.py' is no function; write python:FILE.py:FUNCTION",
        ),
        (
            {"leases": {"52:54:00:12:34:56": "10.0.3.1"}},
            "netdev[0].leases: 10.0.3.1 is not an address of a host in 10.0.2.0/24",
        ),
        (
            {"resolvers": ["dns.example"]},
            "netdev[0].resolvers[0]: 'dns.example' is no IP address; write 192.0.2.1 or 192.0.2.1:53",
        ),
        (
            {"dnssearch": ["b\u00fccher.example"]},
            "netdev[0].dnssearch[0]: 'b\u00fccher.example' has letters that names have not; write it as xn--...",
        ),
        (
            {"dnssearch": ["a" * 64]},
            f"netdev[0].dnssearch[0]: {'a' * 64!r} has a label of more than 63 bytes",
        ),
        ({"hostfw": []}, "netdev[0].hostfw: unknown key; did you mean 'hostfwd'?"),
    ],
)
def test_mistake_is_told_in_one_line_with_its_place(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(**keys)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"host": "10.0.2.3"}, "host and dns are both 10.0.2.3; set the other one, too"),
        ({"dhcpstart": "10.0.2.2"}, "dhcpstart is 10.0.2.2, which is an address of ours; choose another one"),
        ({"ipv6_host": "fec0::3"}, "ipv6-host and ipv6-dns are both fec0::3; set the other one, too"),
        ({"ipv6_dns": "fec1::3"}, "ipv6-dns fec1::3 is not in fec0::/64"),
        ({"ipv4": False, "ipv6": False}, "neither ipv4 nor ipv6 is on; a network has one of them"),
        ({"guestfwd": ["tcp:10.9.9.9:80-cmd:cat"]}, "guestfwd 10.9.9.9 is not in the guest's network"),
    ],
)
async def test_options_that_do_not_fit_together_are_told(
    context: AioContext, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        UserNetdev(checked(**keys), "net0", context, Clocks())

    assert str(caught.value) == message


def test_addresses_without_options_are_qemus() -> None:
    found = Addresses.of(checked())

    assert [found.host[-1], found.dns[-1], found.first[-1], found.last[-1]] == [2, 3, 15, 30]
    assert (found.host6.hex(), found.prefix6_length) == ("fec00000000000000000000000000002", 64)


def test_prefix_length_may_be_part_of_the_prefix() -> None:
    assert Addresses.of(checked(ipv6_prefix="fd00:1::/48")).prefix6_length == 48


@pytest.mark.parametrize(
    ("text", "forward"),
    [
        ("tcp::2222-:22", HostForward("tcp", "127.0.0.1", 2222, "", None, 22)),
        ("udp:0.0.0.0:69-10.0.2.15:69", HostForward("udp", "0.0.0.0", 69, "", bytes((10, 0, 2, 15)), 69)),
        ("tcp:[::1]:80-[fec0::9]:80", HostForward("tcp", "::1", 80, "", b"\xfe\xc0" + bytes(13) + b"\x09", 80)),
        ("unix:/tmp/a-b.sock-:22", HostForward("unix", "", 0, "/tmp/a-b.sock", None, 22)),
    ],
)
def test_hostfwd_is_read_as_qemu_does(text: str, forward: HostForward) -> None:
    assert parse_hostfwd(text) == forward


def test_files_of_guestfwd_are_relative_to_the_configuration() -> None:
    options = checked(guestfwd=["tcp:10.0.2.100:80-python:web.py:serve", "tcp::81-unix:web.sock"])

    assert [parse_guestfwd(text).target for text in options.guestfwd] == ["/vm/web.py:serve", "/vm/web.sock"]


def test_path_of_hostfwd_is_relative_to_the_configuration() -> None:
    (text,) = checked(hostfwd=["unix:guest.sock-:22"]).hostfwd

    assert parse_hostfwd(text).path == "/vm/guest.sock"


@given(st.text(alphabet="tcpudnix:-[]./0123456789fecd \n", max_size=60))
def test_hostfwd_of_any_text_is_a_forward_or_a_value_error(text: str) -> None:
    try:
        parse_hostfwd(text)
    except ValueError as error:
        assert str(error)


@given(st.text(alphabet="tcpudnix:-[]./0123456789fecdmy \n", max_size=60))
def test_guestfwd_of_any_text_is_a_forward_or_a_value_error(text: str) -> None:
    try:
        parse_guestfwd(text)
    except ValueError as error:
        assert str(error)
