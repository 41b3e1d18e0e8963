# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of hostfwd_add and hostfwd_remove: what QEMU 7.2 says of the same texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.refusals import Refused
from asyncemu.net.user.hostfwd_rules import Door, parse_door, parse_rule


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("bla", "No : separators"),
        ("sctp:127.0.0.1:2200-:22", "Bad protocol name"),
        ("tcp:127.0.0.1", "Missing : separator"),
        ("tcp:127.0.0.x:2200-:22", "Bad host address"),
        ("tcp:127.0.0.1:2200", "Bad host port separator"),
        ("tcp:127.0.0.1:xx-:22", "Bad host port"),
        ("tcp:127.0.0.1:65536-:22", "Bad host port"),
        ("tcp:127.0.0.1:2200-", "Missing guest address"),
        ("tcp:127.0.0.1:2200-10.0.2.x:22", "Bad guest address"),
        ("tcp:127.0.0.1:2200-:0", "Bad guest port"),
        ("tcp:[::1]:2200-[fec0::15]:x", "Bad guest port"),
    ],
)
def test_rule_that_is_wrong_says_why_as_qemu(rule: str, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_rule(rule)

    assert str(caught.value) == f"Invalid host forwarding rule '{rule}' ({reason})"


def test_rule_that_qemu_has_not_says_what_to_write() -> None:
    with pytest.raises(Refused, match=r"^Invalid host forwarding rule 'unix:' \(Bad protocol name\)$"):
        parse_rule("unix:")


@given(
    st.text(max_size=40) | st.from_regex(r"(tcp|udp):[\[\]0-9a-f.:]{0,12}:[0-9]{0,6}-?[0-9.:]{0,12}", fullmatch=True)
)
def test_any_rule_is_parsed_or_refused(rule: str) -> None:
    try:
        forward = parse_rule(rule)
    except Refused as error:
        assert str(error).startswith("Invalid host forwarding rule ")
    else:
        assert 1 <= forward.guest_port <= 65535


@pytest.mark.parametrize(
    ("text", "door"),
    [
        ("tcp:127.0.0.1:2222", Door("tcp", "127.0.0.1", 2222)),
        ("tcp::2222", Door("tcp", "127.0.0.1", 2222)),
        ("udp:[::1]:53", Door("udp", "::1", 53)),
        ("unix:/run/guest:1", Door("unix", "/run/guest:1", 0)),
    ],
)
def test_door_is_where_the_host_listens(text: str, door: Door) -> None:
    assert parse_door(text) == door


@pytest.mark.parametrize(
    "text", ["", "bla", "tcp:2222", "tcp:127.0.0.1:", "tcp:127.0.0.1:x", "unix:", "icmp:1.2.3.4:5"]
)
def test_door_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"^invalid format$"):
        parse_door(text)
