# SPDX-License-Identifier: GPL-2.0-or-later
"""The opening handshake (RFC 6455, 4.2): from the head of an HTTP request to the head of the answer.

A web page that the user looks at can open a WebSocket to this host, too, and says where it comes from (``Origin``): one
from another host is refused (10.2), or any page could type on the guest's console. A name that is not localhost may be
one that its owner has made mean this host, for that page (DNS rebinding): it needs a token, or TLS, to be believed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

#: Bytes of a request's head at most; QEMU's limit.
MAX_HEAD: Final = 4096
HEAD_END: Final = b"\r\n\r\n"

_VERSION: Final = "13"
#: RFC 6455, 1.3.
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: The subprotocol that clients of QEMU ask for: the bytes of the stream, in frames cut anywhere.
_SUBPROTOCOL: Final = "binary"


class Answer(NamedTuple):
    """``head`` goes to the client; ``problem`` says why it is refused, empty when it is not."""

    head: bytes
    problem: str


class _Refusal(Exception):
    """``status`` of HTTP with further header lines, and why."""

    def __init__(self, status: str, problem: str, *headers: str) -> None:
        super().__init__(problem)
        self.status = status
        self.headers = headers


def answer(head: bytes, token: str | None = None, *, tls: bool = False) -> Answer:
    """What a request's ``head``, without the empty line at its end, gets.

    ``token``: what the client must know. ``tls``: it came through TLS, so that it knows whom it talks to.
    """
    try:
        headers = _parse(head)
        _check_upgrade(headers)
        _check_origin(headers, names_are_believed=tls or token is not None)
        if token is not None:
            _check_token(headers, token)
    except _Refusal as refusal:
        lines = [f"HTTP/1.1 {refusal.status}", *refusal.headers, "Connection: close", "Content-Length: 0", "", ""]
        return Answer("\r\n".join(lines).encode(), str(refusal))
    accept = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + _GUID).encode()).digest()).decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
    ]
    if _SUBPROTOCOL in _words(headers.get("sec-websocket-protocol", "")):
        lines.append(f"Sec-WebSocket-Protocol: {_SUBPROTOCOL}")
    return Answer("\r\n".join([*lines, "", ""]).encode(), "")


def too_long() -> Answer:
    """What a client gets whose head does not end."""
    return Answer(
        b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        f"the head of the request is longer than {MAX_HEAD} bytes",
    )


def _parse(head: bytes) -> dict[str, str]:
    """The headers by their names in lower case; of one that is repeated, all values (RFC 9110, 5.2)."""
    request, *lines = head.decode("latin-1").split("\r\n")
    words = request.split(" ")
    if len(words) != 3 or words[0] != "GET" or words[2] != "HTTP/1.1":
        raise _Refusal("400 Bad Request", "it is not an HTTP/1.1 GET request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise _Refusal("400 Bad Request", "a header is malformed")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",")]


def _check_upgrade(headers: dict[str, str]) -> None:
    """RFC 6455, 4.2.1."""
    if "host" not in headers:
        raise _Refusal("400 Bad Request", "it does not say which host it wants")
    upgrades = [word.lower() for word in _words(headers.get("upgrade", ""))]
    connection = [word.lower() for word in _words(headers.get("connection", ""))]
    if "websocket" not in upgrades or "upgrade" not in connection:
        raise _Refusal("426 Upgrade Required", "it does not ask for a WebSocket", "Upgrade: websocket")
    if headers.get("sec-websocket-version") != _VERSION:
        needed = f"Sec-WebSocket-Version: {_VERSION}"
        raise _Refusal("426 Upgrade Required", f"its version of WebSocket is not {_VERSION}", needed)
    try:
        nonce = base64.b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16:
        raise _Refusal("400 Bad Request", "its key is not 16 bytes in base64")


def _check_origin(headers: dict[str, str], *, names_are_believed: bool) -> None:
    origin = headers.get("origin")
    if origin is None:
        return  # no web page
    try:
        page = urlsplit(origin).hostname
        asked_for = urlsplit(f"//{headers['host']}").hostname
    except ValueError:
        page = asked_for = None
    if page is None or page != asked_for or not (names_are_believed or page == "localhost" or _is_address(page)):
        raise _Refusal("403 Forbidden", f"it comes from a web page of another host ({origin[:60]!r})")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check_token(headers: dict[str, str], token: str) -> None:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    # In constant time: how long it takes must not tell how much of a guess is right.
    right = hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
    if scheme.lower() != "bearer" or not right:
        raise _Refusal("401 Unauthorized", "it has not the token", "WWW-Authenticate: Bearer")
