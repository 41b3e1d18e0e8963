# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.chardev.websocket.handshake import answer, too_long


def request(**changes: str | None) -> bytes:
    """RFC 6455, 1.3's example, with headers changed, or left out where they are None."""
    headers: dict[str, str | None] = {
        "Host": "server.example.com",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    lines = ["GET /chat HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join(lines).encode("latin-1")


def test_answer_example_of_the_rfc() -> None:
    head, problem = answer(request())

    assert problem == ""
    assert head == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


@pytest.mark.parametrize(("offered", "taken"), [("binary", True), ("chat, binary", True), ("chat", False)])
def test_answer_subprotocol_binary_is_taken_where_it_is_offered(offered: str, taken: bool) -> None:
    head, _ = answer(request(Sec_WebSocket_Protocol=offered))

    assert (b"\r\nSec-WebSocket-Protocol: binary\r\n" in head) is taken


def test_answer_words_are_compared_without_case() -> None:
    assert answer(request(Upgrade="WebSocket", Connection="keep-alive, upgrade")).problem == ""


@pytest.mark.parametrize(
    ("changes", "status", "problem"),
    [
        ({"Host": None}, "400 Bad Request", "it does not say which host it wants"),
        ({"Upgrade": None}, "426 Upgrade Required", "it does not ask for a WebSocket"),
        ({"Connection": "keep-alive"}, "426 Upgrade Required", "it does not ask for a WebSocket"),
        ({"Sec_WebSocket_Version": "8"}, "426 Upgrade Required", "its version of WebSocket is not 13"),
        ({"Sec_WebSocket_Key": None}, "400 Bad Request", "its key is not 16 bytes in base64"),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, "400 Bad Request", "its key is not 16 bytes in base64"),
        ({"Sec_WebSocket_Key": "ü"}, "400 Bad Request", "its key is not 16 bytes in base64"),
        ({" Odd": "x"}, "400 Bad Request", "a header is malformed"),
    ],
)
def test_answer_request_that_breaks_the_rules_is_refused(
    changes: dict[str, str | None], status: str, problem: str
) -> None:
    head, said = answer(request(**changes))

    assert head.startswith(f"HTTP/1.1 {status}\r\n".encode())
    assert said == problem


@pytest.mark.parametrize("line", [b"POST / HTTP/1.1", b"GET / HTTP/1.0", b"GET /", b"", b"\xff"])
def test_answer_other_than_http_get_is_refused(line: bytes) -> None:
    assert answer(line + b"\r\nHost: h").problem == "it is not an HTTP/1.1 GET request"


def test_answer_old_version_names_the_right_one() -> None:
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer(request(Sec_WebSocket_Version="8")).head


# ---- web pages


@pytest.mark.parametrize(
    ("host", "origin"),
    [("localhost:5900", "http://localhost:8000"), ("[::1]:5900", "http://[::1]"), ("127.0.0.1:1", "http://127.0.0.1")],
)
def test_answer_web_page_of_the_same_host_is_let_in(host: str, origin: str) -> None:
    assert answer(request(Host=host, Origin=origin)).problem == ""


def test_answer_web_page_of_a_name_that_may_be_borrowed_needs_a_token_or_tls() -> None:
    head = request(Host="evil.example", Origin="https://evil.example", Authorization="Bearer s3cret")

    assert answer(head).problem == "it comes from a web page of another host ('https://evil.example')"
    assert answer(head, "s3cret").problem == ""
    assert answer(head, tls=True).problem == ""


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", ""])
def test_answer_web_page_of_another_host_is_refused(origin: str) -> None:
    head, problem = answer(request(Host="localhost:5900", Origin=origin))

    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert problem == f"it comes from a web page of another host ({origin!r})"


def test_answer_web_page_without_a_host_is_refused_whatever_host_it_asks_for() -> None:
    assert answer(request(Host="", Origin="null")).head.startswith(b"HTTP/1.1 403 Forbidden\r\n")


# ---- token


def test_answer_right_token_is_let_in() -> None:
    assert answer(request(Authorization="Bearer s3cret"), "s3cret").problem == ""


@pytest.mark.parametrize("given_", [None, "Bearer wrong", "Basic s3cret", "Bearer", "s3cret", "Bearer ü"])
def test_answer_wrong_token_is_refused(given_: str | None) -> None:
    head, problem = answer(request(Authorization=given_), "s3cret")

    assert head.startswith(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n")
    assert problem == "it has not the token"


def test_too_long_is_said_so() -> None:
    head, problem = too_long()

    assert head.startswith(b"HTTP/1.1 431 ")
    assert problem == "the head of the request is longer than 4096 bytes"


@given(st.binary(max_size=200))
def test_answer_any_bytes_are_refused_in_one_line(head: bytes) -> None:
    refused, problem = answer(head)

    assert refused.startswith(b"HTTP/1.1 4")
    assert problem
    assert "\n" not in problem
