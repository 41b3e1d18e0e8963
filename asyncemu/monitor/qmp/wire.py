# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of a QMP monitor as the bytes that go to the client: a line each, ASCII, ending in CR LF as QEMU's do."""

from __future__ import annotations

import json
from typing import Any, Final

from asyncemu.events import Occurrence

_plain: Final = json.JSONEncoder(allow_nan=False)
_pretty: Final = json.JSONEncoder(allow_nan=False, indent=4)


def to_line(message: Any, pretty: bool = False) -> bytes:
    """``message``, JSON, as one line; with ``pretty`` in several, for people. TypeError, ValueError: it is no JSON."""
    try:
        text = (_pretty if pretty else _plain).encode(message)
    except RecursionError:
        # An id that is nested as deep as a client may nest it comes back so, too.
        text = _flat(message)
    return text.replace("\n", "\r\n").encode() + b"\r\n"


def event_message(occurrence: Occurrence) -> dict[str, Any]:
    """QMP's message for an event: when, what, and its data if it has any."""
    seconds, ns = divmod(occurrence.time_ns, 1_000_000_000)
    data = occurrence.event.to_wire()
    message: dict[str, Any] = {"timestamp": {"seconds": seconds, "microseconds": ns // 1000}}
    message["event"] = occurrence.event.wire_name
    return {**message, "data": data} if data else message


def _flat(message: Any) -> str:
    """JSON without recursion: what is left to write lies on a stack, finished text and values."""
    written: list[str] = []
    left: list[tuple[bool, Any]] = [(False, message)]
    while left:
        is_text, value = left.pop()
        if is_text:
            written.append(value)
        elif isinstance(value, (dict, list)):
            opening, closing = "{}" if isinstance(value, dict) else "[]"
            pieces: list[tuple[bool, Any]] = [(True, opening)]
            pairs = value.items() if isinstance(value, dict) else ((None, each) for each in value)
            for index, (key, inner) in enumerate(pairs):
                label = f"{_plain.encode(key)}: " if isinstance(value, dict) else ""
                pieces += [(True, (", " if index else "") + label), (False, inner)]
            left.extend(reversed([*pieces, (True, closing)]))
        else:
            written.append(_plain.encode(value))
    return "".join(written)
