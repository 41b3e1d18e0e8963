# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import tftp
from asyncemu.net.packets.errors import Malformed

texts = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=20)
requests = st.builds(
    tftp.Request, st.booleans(), texts, texts.map(str.lower), st.dictionaries(texts.map(str.lower), texts, max_size=3)
)


@given(requests)
def test_parse_request_that_pack_made_is_the_same(request: tftp.Request) -> None:
    assert tftp.parse(request.pack()) == request


@given(st.integers(0, 6), st.binary(max_size=60))
def test_parse_any_bytes_is_malformed_or_a_packet(operation: int, rest: bytes) -> None:
    try:
        packet = tftp.parse(bytes((0, operation)) + rest)
    except Malformed:
        return
    assert isinstance(packet, tftp.Request | tftp.Acknowledgment | tftp.Error)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0\4\0", "is cut"),
        (b"\0\1name\0octet", "request is cut"),
        (b"\0\1name\0", "request is cut"),
        (b"\0\1" + b"a" * 511 + b"\0octet\0", "too long"),
        (b"\0\3\0\1data", "no reader sends"),
        (b"\1\1a\0octet\0", "no reader sends"),
    ],
)
def test_parse_broken_packet_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        tftp.parse(data)


def test_parse_option_without_a_value_is_left_out() -> None:
    packet = tftp.parse(b"\0\1a\0OCTET\0BLKSIZE\0" + b"1024\0" + b"tsize\0")
    assert packet == tftp.Request(False, "a", "octet", {"blksize": "1024"})


def test_parse_error_has_its_message() -> None:
    assert tftp.parse(tftp.pack_error(3, "disk full")) == tftp.Error(3, "disk full")


def test_parse_acknowledgment_has_its_block() -> None:
    assert tftp.parse(tftp.pack_acknowledgment(513)) == tftp.Acknowledgment(513)
