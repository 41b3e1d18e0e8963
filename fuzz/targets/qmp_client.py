# SPDX-License-Identifier: GPL-2.0-or-later
"""What a QMP client may say: JSON with QEMU's extensions, requests, negotiation.

    1 byte    how large the pieces are in which the rest comes; the rest is what the client says

Nothing may be raised inside. The pieces must not matter, and what is held must stay bounded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from asyncemu.monitor.qmp.json_reader import MAX_VALUE, JsonItem, JsonReader
from asyncemu.monitor.qmp.session import Request, Session
from asyncemu.monitor.qmp.wire import to_line
from fuzz.choices import Choices
from fuzz.driving import Defect

_SEEDS: Final = (
    b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}{"exec-oob":"query-yank","id":1}',
    b"{'execute':'query-status','id':'\\'\\\\'}",
    b'{"execute":"set_link","arguments":{"name":"a","up":true},"id":[1e5,-0,18446744073709551616,"\\ud83d\\ude00"]}',
    b'{"a":\xff[1,{"b":null}]\x00 nul 01 1.5.5 "\xc0\x80"',
    b"[" * 1030 + b"]" * 4,
)


def seeds() -> Sequence[bytes]:
    """One of each kind."""
    return [b"\x07" + seed for seed in _SEEDS]


def fuzz_one(data: bytes) -> None:
    """Let a session take it all, in one piece and in several."""
    choices = Choices(data)
    size = choices.below(64) + 1
    said = choices.rest()
    at_once = _read(said, max(1, len(said)))
    in_pieces = _read(said, size)
    if _lines(at_once) != _lines(in_pieces):
        raise Defect("the pieces in which it comes matter")
    session = Session()
    for item in at_once:
        request = session.take(item)
        _answer(session, request)


def _read(said: bytes, size: int) -> list[JsonItem]:
    reader = JsonReader()
    items: list[JsonItem] = []
    for at in range(0, len(said), size):
        reader.feed(said[at : at + size])
        while (item := reader.read()) is not None:
            items.append(item)
        if reader.unread > MAX_VALUE:
            raise Defect(f"{reader.unread} bytes are held")
    return items


def _lines(items: list[JsonItem]) -> list[bytes]:
    """What can be compared however deep it is nested."""
    return [to_line([item.value, item.error]) for item in items]


def _answer(session: Session, request: Request) -> None:
    if not session.negotiated:
        reply = session.negotiate(request)
    elif request.error is not None:
        reply = request.refusal(request.error)
    else:
        reply = request.reply({})
    line = to_line(reply)
    if not line.isascii() or line.count(b"\n") != 1:
        raise Defect(f"no line: {line[:80]!r}")
    try:
        json.loads(line)
    except RecursionError:
        pass  # as deep as a client may go, which is deeper than Python's reader goes
