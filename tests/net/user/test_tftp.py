# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import tftp
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.user.tftp import (
    MAX_SENT,
    MAX_TRANSFERS,
    TIMEOUT,
    Action,
    Close,
    Open,
    Read,
    Send,
    TftpServer,
    clean_name,
)

SECOND = 1_000_000_000


def read(name: str = "kernel", mode: str = "octet", **options: str) -> bytes:
    return tftp.Request(False, name, mode, options).pack()


def ack(block: int) -> bytes:
    return tftp.pack_acknowledgment(block & 0xFFFF)


def serve(server: TftpServer, actions: list[Action], file: bytes, now: int = 0) -> list[Action]:
    """Do what is to be done with the file; what is left are packets, and the end."""
    left: list[Action] = []
    for action in actions:
        if isinstance(action, Open):
            left += serve(server, server.opened(action.client, len(file), now), file, now)
        elif isinstance(action, Read):
            data = file[action.offset : action.offset + action.length]
            left += serve(server, server.have(action.client, data, now), file, now)
        else:
            left.append(action)
    return left


def fetch(server: TftpServer, request: bytes, file: bytes) -> bytes:
    """As a client does that loses nothing; ends when the server closes."""
    received = b""
    actions = serve(server, server.receive(request, "client", 0), file)
    while not isinstance(actions[-1], Close):
        [send] = actions
        assert isinstance(send, Send)
        operation, block = send.payload[1], int.from_bytes(send.payload[2:4], "big")
        if operation == tftp.OPTIONS:
            block = 0
        else:
            received += send.payload[4:]
        actions = serve(server, server.receive(ack(block), "client", 0), file)
    return received


def from_netascii(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r")


@given(st.binary(max_size=2000), st.sampled_from(({}, {"blksize": "8"}, {"blksize": "500", "tsize": "0"})))
def test_receive_octet_file_arrives_as_it_is(file: bytes, options: dict[str, str]) -> None:
    server = TftpServer()
    assert fetch(server, read(**options), file) == file
    assert len(server) == 0


@given(st.lists(st.sampled_from((b"\r", b"\n", b"text")), max_size=300).map(b"".join))
def test_receive_netascii_file_arrives_with_its_lines(file: bytes) -> None:
    received = fetch(TftpServer(), read(mode="NetASCII", blksize="16"), file)
    assert from_netascii(received) == file
    assert received.count(b"\n") == received.count(b"\r\n")


@pytest.mark.parametrize("length", [0, 512, 1024])
def test_receive_file_of_whole_blocks_ends_with_an_empty_one(length: int) -> None:
    server = TftpServer()
    actions = serve(server, server.receive(read(), "client", 0), bytes(length))
    for block in range(1, length // 512 + 1):
        actions = serve(server, server.receive(ack(block), "client", 0), bytes(length))
    assert actions == [Send("client", tftp.pack_data(length // 512 + 1, b""))]


@pytest.mark.slow
def test_receive_block_numbers_wrap() -> None:
    file = bytes(8 * 65540)
    assert len(fetch(TftpServer(), read(blksize="8"), file)) == len(file)


def test_receive_options_are_agreed_on() -> None:
    server = TftpServer()
    request = read(blksize="65464", TSIZE="0", timeout="3", windowsize="4", foo="bar")
    [send] = serve(server, server.receive(request, "client", 0), bytes(1234))
    assert send == Send("client", tftp.pack_options({"blksize": "1468", "tsize": "1234", "timeout": "3"}))
    assert server.next_deadline() == 3 * SECOND


@pytest.mark.parametrize(
    "options", [{"blksize": "7"}, {"blksize": "65465"}, {"blksize": "x"}, {"timeout": "0"}, {"timeout": "9" * 5000}]
)
def test_receive_options_out_of_range_are_ignored(options: dict[str, str]) -> None:
    server = TftpServer()
    request = tftp.Request(False, "kernel", "octet", options)
    actions = server._request(request, "client")
    assert serve(server, actions, b"file") == [Send("client", tftp.pack_data(1, b"file"))]


def test_receive_write_is_refused() -> None:
    request = tftp.Request(True, "kernel", "octet", {}).pack()
    assert TftpServer().receive(request, "client", 0) == [Send("client", tftp.pack_error(2, "Access violation"))]


def test_receive_mode_mail_is_refused() -> None:
    [send] = TftpServer().receive(read(mode="mail"), "client", 0)
    assert send == Send("client", tftp.pack_error(4, "Illegal TFTP operation"))


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "..", "/", ".", "a" * 256])
def test_receive_name_that_leads_out_is_refused(name: str) -> None:
    [send] = TftpServer().receive(read(name), "client", 0)
    assert send == Send("client", tftp.pack_error(2, "Access violation"))


@pytest.mark.parametrize(("name", "clean"), [("/boot//./kernel", "boot/kernel"), ("..a/b..", "..a/b.."), ("a", "a")])
def test_clean_name_is_relative_to_the_folder(name: str, clean: str) -> None:
    assert clean_name(name) == clean


@given(st.text(st.sampled_from("./a\\")))
def test_clean_name_of_any_text_never_leads_out(name: str) -> None:
    try:
        parts = clean_name(name).split("/")
    except Malformed:
        return
    assert not set(parts) & {"", ".", ".."}


def test_refused_file_is_an_error_for_the_client() -> None:
    server = TftpServer()
    server.receive(read(), "client", 0)
    actions = server.refused("client", tftp.NOT_FOUND, "File not found")
    assert actions == [Send("client", tftp.pack_error(1, "File not found")), Close("client")]
    assert len(server) == 0


def test_receive_acknowledgment_of_no_transfer_is_an_error() -> None:
    assert TftpServer().receive(ack(1), "client", 0) == [Send("client", tftp.pack_error(5, "Unknown transfer ID"))]


def test_receive_error_ends_the_transfer_silently() -> None:
    server = TftpServer()
    serve(server, server.receive(read(), "client", 0), bytes(1000))
    assert server.receive(tftp.pack_error(3, "disk full"), "client", 0) == [Close("client")]
    assert server.receive(tftp.pack_error(3, "disk full"), "client", 0) == []


def test_receive_old_acknowledgment_sends_nothing() -> None:
    server = TftpServer()
    serve(server, server.receive(read(), "client", 0), bytes(2000))
    serve(server, server.receive(ack(1), "client", 0), bytes(2000))
    assert server.receive(ack(1), "client", 0) == []
    assert server.receive(ack(3), "client", 0) == []


def test_receive_request_again_while_the_file_opens_is_ignored() -> None:
    server = TftpServer()
    assert server.receive(read(), "client", 0) == [Open("client", "kernel")]
    assert server.receive(read(), "client", 1) == []


def test_receive_another_request_of_the_same_client_begins_anew() -> None:
    server = TftpServer()
    serve(server, server.receive(read(), "client", 0), bytes(1000))
    assert server.receive(read("initrd"), "client", 0) == [Close("client"), Open("client", "initrd")]


def test_opened_after_the_transfer_ended_is_closed() -> None:
    assert TftpServer().opened("client", 5, 0) == [Close("client")]
    assert TftpServer().have("client", b"data", 0) == []
    assert TftpServer().refused("client", 1, "") == []


def test_expire_sends_again_then_gives_up() -> None:
    server = TftpServer()
    [first] = serve(server, server.receive(read(), "client", 0), bytes(1000))
    for again in range(1, MAX_SENT):
        assert server.expire(again * TIMEOUT - 1) == []
        assert server.next_deadline() == again * TIMEOUT
        assert server.expire(again * TIMEOUT) == [first]
    assert server.expire(MAX_SENT * TIMEOUT) == [Close("client")]
    assert (len(server), server.dropped, server.next_deadline()) == (0, 1, None)


def test_expire_last_block_is_not_acknowledged_is_no_failure() -> None:
    server = TftpServer()
    serve(server, server.receive(read(), "client", 0), b"short")
    for again in range(1, MAX_SENT + 1):
        server.expire(again * TIMEOUT)
    assert (len(server), server.dropped) == (0, 0)


def test_receive_too_many_transfers_the_oldest_makes_room() -> None:
    server = TftpServer()
    for client in range(MAX_TRANSFERS):
        serve(server, server.receive(read(), client, client), bytes(1000), client)
    assert server.receive(read(), "one more", 100) == [Close(0), Open("one more", "kernel")]
    assert (len(server), server.dropped) == (MAX_TRANSFERS, 1)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6), st.binary(max_size=12)), max_size=30))
def test_receive_any_packets_never_break_the_server(packets: list[tuple[int, int, bytes]]) -> None:
    server = TftpServer()
    now = 0
    for client, operation, rest in packets:
        now += SECOND // 2
        payload = bytes((0, operation)) + (b"f\0octet\0" if operation == 1 else rest)
        try:
            serve(server, server.receive(payload, client, now), bytes(1500), now)
        except Malformed:
            continue
        server.expire(now)
    for again in range(MAX_SENT + 1):
        server.expire(now + (again + 1) * TIMEOUT)
    assert len(server) == 0
