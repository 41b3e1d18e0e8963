# SPDX-License-Identifier: GPL-2.0-or-later
"""A client's handshake: with our own server, and with servers of all ages and tempers."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block.nbd import client_negotiation
from asyncemu.block.nbd.client_negotiation import Agreement, ClientNegotiation, DescribedExport, Refused
from asyncemu.block.nbd.constants import (
    OPT_ABORT,
    OPT_EXPORT_NAME,
    OPT_GO,
    OPT_LIST,
    OPT_SET_META_CONTEXT,
    OPT_STARTTLS,
    OPT_STRUCTURED_REPLY,
    REP_ACK,
    REP_ERR_INVALID,
    REP_ERR_POLICY,
    REP_ERR_TLS_REQD,
    REP_ERR_UNKNOWN,
    REP_ERR_UNSUP,
    REP_INFO,
    REP_META_CONTEXT,
    REP_SERVER,
)
from asyncemu.block.nbd.option_messages import (
    OPTION_HEADER,
    BlockSizes,
    ExportInformation,
    ListedExport,
    MetaContext,
    block_size_information,
    export_information,
    option_reply,
)
from asyncemu.errors import ProtocolError
from tests.block.nbd.handshake import DISK, EXPORTS, converse, server

FIXED = b"NBDMAGICIHAVEOPT\0\x03"
NEWSTYLE = b"NBDMAGICIHAVEOPT\0\0"
OLDSTYLE = b"NBDMAGIC" + struct.pack(">QQI", 0x00420281861253, 4096, 3) + bytes(124)

GO_REPLIES = option_reply(OPT_GO, REP_INFO, export_information(4096, 1)) + option_reply(OPT_GO, REP_ACK)


def run(client: ClientNegotiation, *answers: bytes) -> list[int]:
    """Give it the greeting and then an answer to each option; the options that it sent."""
    options = []
    for answer in answers:
        client.receive(answer)
        while (request := client.step()) is not None:
            if len(request) >= OPTION_HEADER.size:
                options.append(OPTION_HEADER.unpack_from(request)[1])
    return options


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_export_of_our_server_is_agreed_on(piece: int) -> None:
    client = ClientNegotiation("disk")
    converse(client, server(), piece)
    information = ExportInformation(DISK.size, DISK.flags | 0x80, None, "a disk", DISK.block_sizes)
    assert client.agreement == Agreement(information, True, DISK.contexts[0])


def test_export_unknown_is_refused_with_what_the_server_says() -> None:
    client = ClientNegotiation("nope")
    with pytest.raises(Refused, match=r"^Requested export not available$") as raised:
        converse(client, server())
    assert raised.value.hint == "server reported: export 'nope' not present\n"
    assert client.farewell() == OPTION_HEADER.pack(0x49484156454F5054, OPT_ABORT, 0)


def test_context_that_the_server_has_not_is_none() -> None:
    client = ClientNegotiation("disk", context="qemu:dirty-bitmap:b")
    converse(client, server())
    assert client.agreement is not None
    assert client.agreement.context is None


def test_listing_of_our_server_tells_all() -> None:
    client = ClientNegotiation("", listing=True)
    converse(client, server(exports={**EXPORTS, "": DISK._replace(name="", description="")}))
    information = ExportInformation(DISK.size, DISK.flags | 0x80, None, "a disk", DISK.block_sizes)
    contexts = ("base:allocation", "qemu:allocation-depth")
    assert client.exports == [
        DescribedExport("disk", "a disk", information, contexts),
        DescribedExport("", "", information._replace(description=""), contexts),
    ]


# ---- servers of old


def test_oldstyle_server_has_one_export() -> None:
    client = ClientNegotiation("")
    run(client, OLDSTYLE)
    assert client.agreement == Agreement(ExportInformation(4096, 3))


def test_oldstyle_server_has_no_names() -> None:
    with pytest.raises(Refused, match=r"^Server does not support non-empty export names$"):
        run(ClientNegotiation("a"), OLDSTYLE)


def test_oldstyle_server_with_other_flags_breaks_the_protocol() -> None:
    greeting = OLDSTYLE[:24] + b"\xff" + OLDSTYLE[25:]
    with pytest.raises(ProtocolError, match=r"Unexpected export flags 0xff000003$"):
        run(ClientNegotiation(""), greeting)


def test_oldstyle_server_is_listed() -> None:
    client = ClientNegotiation("", listing=True)
    run(client, OLDSTYLE)
    assert client.exports == [DescribedExport("", "", ExportInformation(4096, 3), ())]


def test_newstyle_server_gets_export_name_and_sends_zeroes() -> None:
    client = ClientNegotiation("a")
    assert run(client, NEWSTYLE, struct.pack(">QH", 4096, 1) + bytes(124)) == [OPT_EXPORT_NAME]
    assert client.agreement == Agreement(ExportInformation(4096, 1))


def test_newstyle_server_has_no_list() -> None:
    with pytest.raises(Refused, match=r"^Server does not support export lists$"):
        run(ClientNegotiation("", listing=True), NEWSTYLE)


@pytest.mark.parametrize(
    "listed", [option_reply(OPT_LIST, REP_ERR_UNSUP), option_reply(OPT_LIST, REP_SERVER, ListedExport("a").encode())]
)
def test_server_without_go_gets_export_name(listed: bytes) -> None:
    client = ClientNegotiation("a")
    options = run(
        client,
        FIXED,
        option_reply(OPT_STRUCTURED_REPLY, REP_ERR_UNSUP),
        option_reply(OPT_GO, REP_ERR_UNSUP),
        listed + option_reply(OPT_LIST, REP_ACK),
        struct.pack(">QH", 4096, 1) + b"more",
    )
    assert options == [OPT_STRUCTURED_REPLY, OPT_GO, OPT_LIST, OPT_EXPORT_NAME]


def test_server_without_go_that_does_not_list_the_export_is_not_asked() -> None:
    answers = (
        FIXED,
        option_reply(OPT_STRUCTURED_REPLY, REP_ERR_UNSUP),
        option_reply(OPT_GO, REP_ERR_UNSUP),
        option_reply(OPT_LIST, REP_SERVER, ListedExport("b").encode()) + option_reply(OPT_LIST, REP_ACK),
    )
    with pytest.raises(Refused, match=r"^No export with name 'a' available$"):
        run(ClientNegotiation("a"), *answers)


def test_structured_replies_refused_for_any_reason_are_done_without() -> None:
    client = ClientNegotiation("a")
    run(client, FIXED, option_reply(OPT_STRUCTURED_REPLY, REP_ERR_INVALID, b"no"), GO_REPLIES + b"rest")
    assert client.agreement == Agreement(ExportInformation(4096, 1))
    assert client.rest() == b"rest"


# ---- TLS


def test_tls_comes_first_and_waits_until_it_stands() -> None:
    client = ClientNegotiation("a", tls=True)
    assert run(client, FIXED, option_reply(OPT_STARTTLS, REP_ACK)) == [OPT_STARTTLS]
    assert client.starts_tls
    client.tls_started()
    assert run(client, b"") == [OPT_STRUCTURED_REPLY]


def test_tls_with_plain_data_behind_it_breaks_the_protocol() -> None:
    answer = option_reply(OPT_STARTTLS, REP_ACK) + option_reply(OPT_STRUCTURED_REPLY, REP_ACK)
    with pytest.raises(ProtocolError, match=r"data behind the reply to option starttls$"):
        run(ClientNegotiation("a", tls=True), FIXED, answer)


@pytest.mark.parametrize("greeting", [OLDSTYLE, NEWSTYLE])
def test_tls_with_a_server_of_old_is_refused(greeting: bytes) -> None:
    with pytest.raises(Refused, match=r"^Server does not support STARTTLS$"):
        run(ClientNegotiation("", tls=True), greeting)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (REP_ERR_UNSUP, "Server don't support STARTTLS option"),
        (REP_ERR_POLICY, "Denied by server for option 5 (starttls)"),
    ],
)
def test_tls_denied_is_refused(kind: int, problem: str) -> None:
    with pytest.raises(Refused) as raised:
        run(ClientNegotiation("", tls=True), FIXED, option_reply(OPT_STARTTLS, kind))
    assert raised.value.problem == problem


def test_tls_required_hints_at_credentials() -> None:
    answers = FIXED, option_reply(OPT_STRUCTURED_REPLY, REP_ERR_UNSUP), option_reply(OPT_GO, REP_ERR_TLS_REQD)
    with pytest.raises(Refused, match=r"^TLS negotiation required before option 7 \(go\)$") as raised:
        run(ClientNegotiation(""), *answers)
    assert raised.value.hint == "Did you forget a valid tls-creds?\n"


# ---- servers that break the protocol

STRUCTURED = option_reply(OPT_STRUCTURED_REPLY, REP_ACK)
NO_CONTEXT = option_reply(OPT_SET_META_CONTEXT, REP_ACK)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ((b"GARBAGE!" * 4,), "Bad initial magic received: 0x4741524241474521"),
        ((b"NBDMAGICGARBAGE!",), "Bad server magic received: 0x4741524241474521"),
        ((FIXED, b"x" * 20), "Unexpected option reply magic"),
        ((FIXED, option_reply(OPT_GO, REP_ACK)), "Unexpected option type 7 (go), expected 8 (structured reply)"),
        (
            (FIXED, option_reply(OPT_STRUCTURED_REPLY, REP_ACK, b"x")),
            "Option 8 ('structured reply') response length is 1 (it should be zero)",
        ),
        (
            (FIXED, option_reply(OPT_STRUCTURED_REPLY, REP_INFO)),
            "Server answered option 8 (structured reply) with unexpected reply 3 (info)",
        ),
        (
            (FIXED, option_reply(OPT_STRUCTURED_REPLY, REP_ERR_POLICY, bytes(20_000))),
            "option reply of 20000 bytes, at most 16384",
        ),
        (
            (FIXED, STRUCTURED, option_reply(OPT_SET_META_CONTEXT, REP_SERVER, bytes(4))),
            "Unexpected reply type 2 (server), expected 4 (meta context)",
        ),
        (
            (FIXED, STRUCTURED, option_reply(OPT_SET_META_CONTEXT, REP_META_CONTEXT, b"xx")),
            "Failed to negotiate meta context, server answered with unexpected length 2",
        ),
        (
            (
                FIXED,
                STRUCTURED,
                option_reply(OPT_SET_META_CONTEXT, REP_META_CONTEXT, MetaContext(1, "x:y").encode()) + NO_CONTEXT,
            ),
            "Failed to negotiate meta context 'base:allocation', server answered with different context 'x:y'",
        ),
        (
            (FIXED, STRUCTURED, NO_CONTEXT, option_reply(OPT_GO, REP_ACK)),
            "broken server omitted NBD_INFO_EXPORT",
        ),
        (
            (
                FIXED,
                STRUCTURED,
                NO_CONTEXT,
                option_reply(OPT_GO, REP_INFO, block_size_information(BlockSizes(3, 4, 5))) + GO_REPLIES,
            ),
            "server minimum block size 3 is not a power of two",
        ),
    ],
)
def test_server_that_breaks_the_protocol(answers: tuple[bytes, ...], problem: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        run(ClientNegotiation("a"), *answers)
    assert raised.value.problem == problem


def test_size_that_is_no_multiple_of_the_minimum_is_refused() -> None:
    sizes = block_size_information(BlockSizes(512, 4096, 1 << 20))
    information = option_reply(OPT_GO, REP_INFO, export_information(1000, 1)) + option_reply(OPT_GO, REP_INFO, sizes)
    with pytest.raises(Refused, match=r"^export size 1000 is not multiple of minimum block size 512$"):
        run(ClientNegotiation("a"), FIXED, STRUCTURED, NO_CONTEXT, information + option_reply(OPT_GO, REP_ACK))


def test_list_without_end_breaks_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_negotiation, "MAX_REPLIES", 5)
    endless = option_reply(OPT_LIST, REP_SERVER, ListedExport("a").encode()) * 6
    with pytest.raises(ProtocolError, match=r"more than 5 replies to option 3 \(list\)$"):
        run(ClientNegotiation("", listing=True), FIXED, STRUCTURED, endless)


def test_replies_of_many_bytes_break_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_negotiation, "MAX_ALL_DATA", 1000)
    long = option_reply(OPT_LIST, REP_SERVER, ListedExport("a" * 300).encode()) * 4
    with pytest.raises(ProtocolError, match=r"more than 1000 bytes of option replies$"):
        run(ClientNegotiation("", listing=True), FIXED, STRUCTURED, long)


def test_end_says_what_was_awaited() -> None:
    client = ClientNegotiation("a")
    run(client, b"NBD")
    problem = "Failed to read initial magic: Unexpected end-of-file before all data were read"
    assert client.end().problem == problem


def test_export_name_too_long_is_refused_at_once() -> None:
    with pytest.raises(Refused, match=r"^export name too long"):
        ClientNegotiation("a" * 4097).step()


replies = st.builds(
    option_reply,
    st.sampled_from((OPT_STRUCTURED_REPLY, OPT_SET_META_CONTEXT, OPT_GO, OPT_LIST, OPT_EXPORT_NAME)),
    st.sampled_from((REP_ACK, REP_SERVER, REP_INFO, REP_META_CONTEXT, REP_ERR_UNSUP, REP_ERR_UNKNOWN)),
    st.binary(max_size=20),
)


@settings(deadline=None)
@given(
    st.sampled_from((FIXED, NEWSTYLE, b"")),
    st.booleans(),
    st.lists(replies | st.binary(max_size=30), max_size=10),
)
def test_receive_any_bytes_give_an_outcome_or_an_error(greeting: bytes, listing: bool, stream: list[bytes]) -> None:
    client = ClientNegotiation("a", listing=listing)
    with contextlib.suppress(ProtocolError, Refused):
        run(client, greeting, *stream)


def test_words_of_the_server_are_made_printable() -> None:
    answers = FIXED, STRUCTURED, NO_CONTEXT, option_reply(OPT_GO, REP_ERR_UNKNOWN, b"a\x1b[2J\nb\xff")
    with pytest.raises(Refused) as raised:
        run(ClientNegotiation("a"), *answers)
    assert raised.value.hint == "server reported: a?[2J?b\ufffd\n"
