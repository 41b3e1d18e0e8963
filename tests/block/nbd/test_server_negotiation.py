# SPDX-License-Identifier: GPL-2.0-or-later
"""A server's handshake: what it says to what."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block.nbd import server_negotiation
from asyncemu.block.nbd.constants import (
    INFO_BLOCK_SIZE,
    OPT_ABORT,
    OPT_EXPORT_NAME,
    OPT_GO,
    OPT_INFO,
    OPT_LIST,
    OPT_LIST_META_CONTEXT,
    OPT_SET_META_CONTEXT,
    OPT_STARTTLS,
    OPT_STRUCTURED_REPLY,
    REP_ACK,
    REP_ERR_BLOCK_SIZE_REQD,
    REP_ERR_INVALID,
    REP_ERR_POLICY,
    REP_ERR_SHUTDOWN,
    REP_ERR_TLS_REQD,
    REP_ERR_TOO_BIG,
    REP_ERR_UNSUP,
    REP_INFO,
    REP_META_CONTEXT,
)
from asyncemu.block.nbd.option_messages import (
    OPTION_HEADER,
    BlockSizes,
    InfoRequest,
    MetaContext,
    MetaContextRequest,
    option_request,
)
from asyncemu.block.nbd.server_negotiation import MAX_OPTION_DATA, State
from asyncemu.errors import ProtocolError
from tests.block.nbd.handshake import DISK, FIXED_NO_ZEROES, ask, haggling, replies_in, server

GO_DISK = option_request(OPT_GO, InfoRequest("disk").encode())


def meta(option: int, *queries: str, export: str = "disk") -> bytes:
    """A request about metadata contexts."""
    return option_request(option, MetaContextRequest(export, queries).encode())


def test_greeting_is_fixed_newstyle_without_zeroes() -> None:
    assert server().greeting() == b"NBDMAGICIHAVEOPT\0\x03"


def test_flags_unknown_ends() -> None:
    with pytest.raises(ProtocolError, match=r"Unknown client flags 0x4 received$"):
        ask(server(), struct.pack(">I", 7))


def test_option_wrong_magic_ends() -> None:
    with pytest.raises(ProtocolError, match=r"^client, byte 4: Bad magic received$"):
        ask(haggling(), b"a" * 16)


def test_option_of_more_than_32_mib_ends() -> None:
    with pytest.raises(ProtocolError, match=r"len \(33554433 \) is larger than max len \(33554432\)$"):
        ask(haggling(), OPTION_HEADER.pack(0x49484156454F5054, OPT_INFO, (32 << 20) + 1))


def test_option_longer_than_we_keep_is_skipped_and_refused() -> None:
    negotiation = haggling()
    replies = ask(negotiation, option_request(OPT_INFO, bytes(MAX_OPTION_DATA + 1))[:-5])
    assert [kind for _, kind, _ in replies_in(replies)] == [REP_ERR_TOO_BIG]
    assert replies_in(ask(negotiation, bytes(5) + option_request(OPT_ABORT))) == [(OPT_ABORT, REP_ACK, b"")]


def test_option_unknown_is_answered_and_skipped() -> None:
    replies = ask(haggling(), option_request(77, b"abc") + option_request(OPT_ABORT))
    assert replies_in(replies) == [
        (77, REP_ERR_UNSUP, b"Unsupported option 77 (<unknown>)"),
        (OPT_ABORT, REP_ACK, b""),
    ]


def test_option_in_nonfixed_newstyle_ends() -> None:
    negotiation = server()
    ask(negotiation, struct.pack(">I", 0))
    with pytest.raises(ProtocolError, match=r"Unsupported option 3 \(list\)$"):
        ask(negotiation, option_request(OPT_LIST))


def test_options_without_end_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_negotiation, "MAX_OPTIONS", 3)
    negotiation = haggling()
    ask(negotiation, option_request(OPT_LIST) * 3)
    with pytest.raises(ProtocolError, match=r"more than 3 options$"):
        ask(negotiation, option_request(OPT_LIST))


def test_step_answers_one_option_at_a_time() -> None:
    negotiation = haggling()
    negotiation.receive(option_request(OPT_LIST) * 2)
    assert len(replies_in(negotiation.step() or b"")) == 2
    assert len(replies_in(negotiation.step() or b"")) == 2
    assert negotiation.step() is None


def test_abort_with_data_is_acknowledged() -> None:
    negotiation = haggling()
    assert replies_in(ask(negotiation, option_request(OPT_ABORT, b"bye"))) == [(OPT_ABORT, REP_ACK, b"")]
    assert negotiation.state is State.ABORTED


def test_export_name_ends_negotiation_without_zeroes() -> None:
    negotiation = haggling()
    assert ask(negotiation, option_request(OPT_EXPORT_NAME, b"disk")) == struct.pack(">QH", DISK.size, DISK.flags)
    assert negotiation.state is State.TRANSMISSION
    assert negotiation.export == DISK


def test_export_name_with_zeroes_for_old_clients() -> None:
    negotiation = server()
    ask(negotiation, struct.pack(">I", 0))
    assert ask(negotiation, option_request(OPT_EXPORT_NAME, b"disk"))[10:] == bytes(124)


def test_export_name_unknown_ends() -> None:
    with pytest.raises(ProtocolError, match=r"export not found$"):
        ask(haggling(), option_request(OPT_EXPORT_NAME, b"nope"))


def test_export_name_too_long_ends() -> None:
    with pytest.raises(ProtocolError, match=r"Bad length received$"):
        ask(haggling(), option_request(OPT_EXPORT_NAME, bytes(5000)))


def test_go_enters_transmission_and_keeps_what_follows() -> None:
    negotiation = haggling()
    ask(negotiation, option_request(OPT_STRUCTURED_REPLY) + meta(OPT_SET_META_CONTEXT, "base:allocation"))
    ask(negotiation, GO_DISK + b"the rest")
    assert negotiation.state is State.TRANSMISSION
    assert negotiation.contexts == (DISK.contexts[0],)
    assert negotiation.flags == DISK.flags | 0x80
    assert negotiation.rest() == b"the rest"


def test_go_to_another_export_drops_contexts() -> None:
    negotiation = haggling(exports={"disk": DISK, "other": DISK._replace(name="other")})
    ask(negotiation, option_request(OPT_STRUCTURED_REPLY) + meta(OPT_SET_META_CONTEXT, "base:allocation"))
    ask(negotiation, option_request(OPT_GO, InfoRequest("other").encode()))
    assert negotiation.contexts == ()


def test_set_meta_context_that_fails_drops_earlier_ones() -> None:
    negotiation = haggling()
    ask(negotiation, option_request(OPT_STRUCTURED_REPLY) + meta(OPT_SET_META_CONTEXT, "base:allocation"))
    ask(negotiation, meta(OPT_SET_META_CONTEXT, "base:allocation", export="nope") + GO_DISK)
    assert negotiation.contexts == ()


def test_set_meta_context_data_behind_it_is_invalid_and_skipped() -> None:
    negotiation = haggling()
    ask(negotiation, option_request(OPT_STRUCTURED_REPLY))
    data = MetaContextRequest("disk", ("base:",)).encode() + b"zz"
    replies = ask(negotiation, option_request(OPT_SET_META_CONTEXT, data) + option_request(OPT_ABORT))
    assert [kind for _, kind, _ in replies_in(replies)] == [REP_ERR_INVALID, REP_ACK]


@pytest.mark.parametrize(
    ("query", "listed"),
    [
        ("qemu:", ["qemu:allocation-depth", "qemu:dirty-bitmap:b0"]),
        ("qemu:dirty-bitmap:", ["qemu:dirty-bitmap:b0"]),
        ("qemu:dirty-bitmap:b0", ["qemu:dirty-bitmap:b0"]),
        ("qemu:dirty-bitmap:b", []),
    ],
)
def test_list_meta_context_with_a_bitmap(query: str, listed: list[str]) -> None:
    export = DISK._replace(contexts=(*DISK.contexts, MetaContext(2, "qemu:dirty-bitmap:b0")))
    replies = ask(haggling(exports={"disk": export}), meta(OPT_LIST_META_CONTEXT, query))
    assert [data[4:].decode() for _, kind, data in replies_in(replies) if kind == REP_META_CONTEXT] == listed


def test_info_without_block_size_of_an_aligned_export_asks_for_it() -> None:
    export = DISK._replace(block_sizes=BlockSizes(512, 4096, 32 << 20))
    negotiation = haggling(exports={"disk": export})
    replies = replies_in(ask(negotiation, option_request(OPT_INFO, InfoRequest("disk").encode())))
    message = b"request NBD_INFO_BLOCK_SIZE to use this export"
    assert replies[-1] == (OPT_INFO, REP_ERR_BLOCK_SIZE_REQD, message)


@pytest.mark.parametrize(("asked", "minimum"), [((), 1), ((INFO_BLOCK_SIZE,), 512)])
def test_go_tells_the_minimum_to_who_asks(asked: tuple[int, ...], minimum: int) -> None:
    export = DISK._replace(block_sizes=BlockSizes(512, 4096, 32 << 20))
    negotiation = haggling(exports={"disk": export})
    replies = replies_in(ask(negotiation, option_request(OPT_GO, InfoRequest("disk", asked).encode())))
    expected = struct.pack(">HIII", INFO_BLOCK_SIZE, minimum, 4096, 32 << 20)
    assert (OPT_GO, REP_INFO, expected) in replies


def test_shutting_down_refuses_all_but_abort() -> None:
    negotiation = haggling()
    negotiation.shutting_down = True
    replies = ask(negotiation, GO_DISK + option_request(OPT_ABORT))
    assert [kind for _, kind, _ in replies_in(replies)] == [REP_ERR_SHUTDOWN, REP_ACK]


# ---- TLS


def test_starttls_without_tls_is_against_the_policy() -> None:
    expected = [(OPT_STARTTLS, REP_ERR_POLICY, b"TLS not configured")]
    assert replies_in(ask(haggling(), option_request(OPT_STARTTLS))) == expected


@pytest.mark.parametrize("request_", [option_request(OPT_LIST), GO_DISK, option_request(77)])
def test_option_before_tls_is_refused(request_: bytes) -> None:
    replies = replies_in(ask(haggling(tls=True), request_))
    assert [kind for _, kind, _ in replies] == [REP_ERR_TLS_REQD]


def test_export_name_before_tls_ends() -> None:
    with pytest.raises(ProtocolError, match=r"Option 0x1 not permitted before TLS$"):
        ask(haggling(tls=True), option_request(OPT_EXPORT_NAME, b"disk"))


def test_starttls_waits_for_tls_and_forgets_what_was_negotiated() -> None:
    negotiation = haggling(tls=True)
    assert replies_in(ask(negotiation, option_request(OPT_STARTTLS))) == [(OPT_STARTTLS, REP_ACK, b"")]
    negotiation.tls_started()
    replies = replies_in(ask(negotiation, option_request(OPT_STARTTLS) + GO_DISK))
    assert replies[0] == (OPT_STARTTLS, REP_ERR_INVALID, b"TLS already enabled")
    assert negotiation.state is State.TRANSMISSION


def test_starttls_with_plain_data_behind_it_ends() -> None:
    with pytest.raises(ProtocolError, match=r"data behind option starttls$"):
        ask(haggling(tls=True), option_request(OPT_STARTTLS) + option_request(OPT_LIST))


# ---- any bytes


@settings(deadline=None)
@given(st.data())
def test_receive_any_pieces_give_the_same_replies(data: st.DataObject) -> None:
    stream = FIXED_NO_ZEROES + b"".join(
        (
            option_request(OPT_LIST),
            option_request(OPT_STRUCTURED_REPLY),
            meta(OPT_SET_META_CONTEXT, "base:allocation"),
            option_request(77, bytes(MAX_OPTION_DATA + 7)),
            GO_DISK,
        )
    )
    whole = ask(server(), stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    negotiation = server()
    pieces = [ask(negotiation, stream[start:end]) for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert b"".join(pieces) == whole


options = st.builds(option_request, st.integers(0, 12), st.binary(max_size=40))


@settings(deadline=None)
@given(st.booleans(), st.lists(options | st.binary(max_size=30), max_size=8))
def test_receive_any_bytes_give_replies_or_protocol_error(tls: bool, stream: list[bytes]) -> None:
    negotiation = haggling(tls=tls)
    with contextlib.suppress(ProtocolError):
        replies_in(ask(negotiation, b"".join(stream)))
