# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.chardev.codec import Received, Signal
from asyncemu.chardev.telnet import TelnetCodec

IAC = b"\xff"
# What means something, often enough to meet in all combinations.
STREAM = st.lists(
    st.one_of(
        st.sampled_from([bytes([byte]) for byte in (0, 1, 3, 240, 243, 250, 251, 252, 253, 254, 255)]), st.binary()
    )
).map(b"".join)


def joined(received: Received) -> list[bytes | Signal]:
    """Neighbouring data as one piece: where it is cut is not part of the result."""
    result: list[bytes | Signal] = []
    for part in received:
        last = result[-1] if result else None
        if isinstance(part, bytes) and isinstance(last, bytes):
            result[-1] = last + part
        else:
            result.append(part)
    return result


def quiet() -> TelnetCodec:
    """One whose greeting is over."""
    codec = TelnetCodec()
    codec.take_replies()
    return codec


def test_greeting_is_qemus() -> None:
    # qemu-system-riscv64 7.2, -chardev socket,telnet=on: what a client receives first.
    assert TelnetCodec().take_replies() == bytes.fromhex("fffb01fffb03fffb00fffd00")


@pytest.mark.parametrize(
    ("stream", "received"),
    [
        (b"ls\r\n", [b"ls\r\n"]),
        (b"a\xff\xffb", [b"a\xffb"]),
        (b"a\xff\xf3b", [b"a", Signal.BREAK, b"b"]),
        (b"a\xff\xf1b", [b"ab"]),  # NOP
        (b"a\xff\xfd\x01b", [b"ab"]),  # DO ECHO
        (b"a\xff\xfa\x18\x00xterm\xff\xff\xff\xf0b", [b"ab"]),  # a subnegotiation with IAC IAC inside
        (b"a\xff\xfa\x18\xff\xf3\xff\xf0b", [b"ab"]),  # no break inside of one
    ],
)
def test_receive_commands_are_no_data(stream: bytes, received: list[bytes | Signal]) -> None:
    assert joined(quiet().receive(stream)) == received


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"\xff\xfd\x01", b""),  # DO ECHO: agrees
        (b"\xff\xfe\x01", b""),  # DONT ECHO: its choice
        (b"\xff\xfb\x00", b""),  # WILL BINARY: agrees
        (b"\xff\xfd\x18", b"\xff\xfc\x18"),  # DO TERMINAL-TYPE: WONT
        (b"\xff\xfb\x1f", b"\xff\xfe\x1f"),  # WILL NAWS: DONT
    ],
)
def test_negotiation_what_was_not_offered_is_refused(request_: bytes, reply: bytes) -> None:
    codec = quiet()

    codec.receive(request_)

    assert codec.take_replies() == reply


def test_negotiation_same_proposal_again_is_not_answered() -> None:
    codec = quiet()

    codec.receive(b"\xff\xfd\x18" * 1000)

    assert codec.take_replies() == b"\xff\xfc\x18"


@given(STREAM)
def test_negotiation_whatever_comes_replies_are_bounded(stream: bytes) -> None:
    codec = quiet()

    codec.receive(stream * 10)

    # 256 options, two refusals, three bytes each.
    assert len(codec.take_replies()) <= 256 * 2 * 3


@given(st.binary())
def test_encode_receive_gives_back_the_data(data: bytes) -> None:
    assert joined(quiet().receive(quiet().encode(data))) == ([data] if data else [])


@given(STREAM, st.integers(min_value=1, max_value=5))
def test_receive_cut_anywhere_gives_the_same(stream: bytes, size: int) -> None:
    whole, pieces = quiet(), quiet()

    received: list[bytes | Signal] = []
    for start in range(0, len(stream), size):
        received += pieces.receive(stream[start : start + size])

    assert joined(received) == joined(whole.receive(stream))
    assert pieces.take_replies() == whole.take_replies()


@given(STREAM)
def test_receive_never_gives_more_than_was_fed(stream: bytes) -> None:
    received = quiet().receive(stream)

    assert sum(len(part) for part in received if isinstance(part, bytes)) <= len(stream)
