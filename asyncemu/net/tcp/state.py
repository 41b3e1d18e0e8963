# SPDX-License-Identifier: GPL-2.0-or-later
"""The states of a connection, and all ways between them. RFC 9293, 3.3.2.

     accept()                                connect()
        |                                        |
      HELD --establish()--> SYN_RECEIVED <--SYN-- SYN_SENT
                                 |                |
                            ACK of SYN         SYN, ACK
                                 v                v
         close()              ESTABLISHED <-------+                FIN
       +-------------------------+ +----------------------------------+
       v                                                              v
    FIN_WAIT_1 ---FIN---> CLOSING                                CLOSE_WAIT
       |                     |                                        | close()
    ACK of FIN            ACK of FIN                                  v
       v                     v                                    LAST_ACK
    FIN_WAIT_2 ---FIN---> TIME_WAIT --timeout--> CLOSED <--ACK of FIN--+

Every state goes to CLOSED by a reset, from either side, and when the peer is silent for too long.

There is no LISTEN: whoever owns the ports decides which SYN becomes a connection. HELD is ours: a SYN has come, and is
answered when it is known whether there is a server behind us. A close() before ESTABLISHED waits for that, as
3.10.4 allows.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from typing import Final


class State(IntEnum):
    """Where a connection stands. Numbers, as they are compared for each segment.

    From SYN_RECEIVED on, both sides' numbers are known; from ESTABLISHED to FIN_WAIT_2 the peer may send data.
    """

    CLOSED = auto()
    HELD = auto()
    SYN_SENT = auto()
    SYN_RECEIVED = auto()
    ESTABLISHED = auto()
    FIN_WAIT_1 = auto()
    FIN_WAIT_2 = auto()
    CLOSE_WAIT = auto()
    CLOSING = auto()
    LAST_ACK = auto()
    TIME_WAIT = auto()


class Event(Enum):
    """What moves it on."""

    #: The owner wants the peer's SYN answered.
    ESTABLISH = auto()
    #: The peer's SYN without an ACK of ours: both open at once.
    SYN = auto()
    ACK_OF_SYN = auto()
    #: The owner has nothing more to send.
    CLOSE = auto()
    FIN = auto()
    ACK_OF_FIN = auto()
    #: The time in TIME_WAIT is over.
    TIMEOUT = auto()


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.HELD, Event.ESTABLISH): State.SYN_RECEIVED,
    (State.SYN_SENT, Event.SYN): State.SYN_RECEIVED,
    (State.SYN_SENT, Event.ACK_OF_SYN): State.ESTABLISHED,
    (State.SYN_RECEIVED, Event.ACK_OF_SYN): State.ESTABLISHED,
    (State.ESTABLISHED, Event.CLOSE): State.FIN_WAIT_1,
    (State.ESTABLISHED, Event.FIN): State.CLOSE_WAIT,
    (State.FIN_WAIT_1, Event.FIN): State.CLOSING,
    (State.FIN_WAIT_1, Event.ACK_OF_FIN): State.FIN_WAIT_2,
    (State.FIN_WAIT_2, Event.FIN): State.TIME_WAIT,
    (State.CLOSE_WAIT, Event.CLOSE): State.LAST_ACK,
    (State.CLOSING, Event.ACK_OF_FIN): State.TIME_WAIT,
    (State.LAST_ACK, Event.ACK_OF_FIN): State.CLOSED,
    (State.TIME_WAIT, Event.TIMEOUT): State.CLOSED,
}


class Reason(Enum):
    """Why a connection is closed, when it did not end as both sides wanted."""

    #: The peer's RST; in answer to our SYN, it is REFUSED.
    RESET = "reset by peer"
    REFUSED = "connection refused"
    #: The peer has not answered for too long. RFC 9293, 3.8.3.
    TIMED_OUT = "timed out"
    #: An ICMP error says that the peer is not there.
    UNREACHABLE = "unreachable"
    #: The owner's refuse() or abort().
    ABORTED = "aborted"
