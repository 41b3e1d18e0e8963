# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages as bytes."""

from __future__ import annotations

import json

from hypothesis import given

from asyncemu.events import Occurrence, Shutdown, Stop
from asyncemu.monitor.qmp import wire
from asyncemu.monitor.qmp.wire import event_message, to_line
from tests.monitor.qmp.test_json_reader import JSON


def test_to_line_is_one_ascii_line() -> None:
    line = to_line({"return": "\u00e9\n", "id": 1})

    assert line == b'{"return": "\\u00e9\\n", "id": 1}\r\n'


def test_to_line_pretty_is_several() -> None:
    line = to_line({"return": {}, "id": [1]}, pretty=True)

    assert line == b'{\r\n    "return": {},\r\n    "id": [\r\n        1\r\n    ]\r\n}\r\n'


@given(JSON)
def test_flat_is_what_json_writes(value: object) -> None:
    assert wire._flat(value) == json.dumps(value)


def test_to_line_nested_deeper_than_python_goes() -> None:
    value: list[object] = []
    for _ in range(1020):
        value = [value]

    assert to_line({"id": value}) == b'{"id": ' + b"[" * 1021 + b"]" * 1021 + b"}\r\n"


def test_event_message_tells_the_time_in_microseconds_and_the_data() -> None:
    message = event_message(Occurrence(Shutdown(guest=True, reason="guest-reset"), 1_234_567_891_999))

    assert message == {
        "timestamp": {"seconds": 1234, "microseconds": 567891},
        "event": "SHUTDOWN",
        "data": {"guest": True, "reason": "guest-reset"},
    }


def test_event_message_without_data_has_none() -> None:
    assert "data" not in event_message(Occurrence(Stop(), 0))
