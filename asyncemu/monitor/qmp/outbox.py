# SPDX-License-Identifier: GPL-2.0-or-later
"""Outbox: messages on their way to one client, replies and events, in order; bounded, whatever the client reads.

Replies are as many as requests are taken, so those who take requests bound them. Events are bounded here: behind
MAX_EVENTS that wait, only the newest of each key (event_throttle.key_of) waits on, and of MAX_KEYS keys.
Any thread.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Final

from asyncemu.monitor.qmp.event_throttle import Key

#: Events that wait for a client in full. Arbitrary: more than any burst of a living client's machine.
MAX_EVENTS: Final = 256
#: Events of different keys that wait beyond those.
MAX_KEYS: Final = 256


class Outbox:
    """First in, first out, but for events beyond MAX_EVENTS."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: deque[tuple[bool, dict[str, Any]]] = deque()
        self._events = 0
        self._newest: dict[Key, dict[str, Any]] = {}

    def put_reply(self, message: dict[str, Any]) -> None:
        """The answer to a request."""
        with self._lock:
            self._messages.append((False, message))

    def put_event(self, key: Key, message: dict[str, Any]) -> None:
        """What happened."""
        with self._lock:
            if self._events < MAX_EVENTS and not self._newest:
                self._events += 1
                self._messages.append((True, message))
                return
            # Behind the others, also when it was there already: the order is that of the newest.
            self._newest.pop(key, None)
            if len(self._newest) == MAX_KEYS:
                del self._newest[next(iter(self._newest))]
            self._newest[key] = message

    def take(self) -> dict[str, Any] | None:
        """The next message; None: there is none."""
        with self._lock:
            if self._messages:
                is_event, message = self._messages.popleft()
                self._events -= is_event
                return message
            if self._newest:
                return self._newest.pop(next(iter(self._newest)))
            return None

    def clear(self) -> None:
        """The client is gone."""
        with self._lock:
            self._messages.clear()
            self._newest.clear()
            self._events = 0
