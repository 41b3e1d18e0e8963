# SPDX-License-Identifier: GPL-2.0-or-later
"""Codec: what a socket's bytes mean, as a machine that does no I/O. Here is the raw one; others have their own files.

    not established ──receive──▶ established ──receive──▶ established ... ──▶ ENDED
          │ take_replies: answers of the protocol that the peer is owed, at any time

Guarantee that the flow control of a connection rests on: ``receive`` gives no more data than it was fed.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TypeAlias


class Signal(enum.Enum):
    """What a peer says besides data."""

    BREAK = "break"
    #: It says goodbye: nothing follows.
    ENDED = "ended"


#: Data (never empty) and signals, in order.
Received: TypeAlias = Sequence[bytes | Signal]


class Codec:
    """Base of all, and itself the raw stream. One for each connection."""

    #: Is the opening exchange over? Data goes either way only then.
    established = True

    def receive(self, data: bytes) -> Received:
        """The next bytes of the stream, at least one. Raises ProtocolError: the peer is to be left."""
        return [data]

    def encode(self, data: bytes) -> bytes:
        """Data on its way to the peer."""
        return data

    def take_replies(self) -> bytes:
        """What the peer is owed by the protocol; bounded, however much it sends and whenever this is called."""
        return b""

    def farewell(self) -> bytes:
        """The last words of who hangs up."""
        return b""
