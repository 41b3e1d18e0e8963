# SPDX-License-Identifier: GPL-2.0-or-later
"""ClientConnection: requests to one server over one channel, until it is lost.

Requests are sent in place; what does not go at once waits in line and goes when the channel takes it. Replies are
received straight into the buffers of reads. Home: ``context``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from asyncemu.block.nbd.channel import Piece, behind
from asyncemu.block.nbd.client_transmission import ClientTransmission, PendingRequest
from asyncemu.block.nbd.connecting import Connected
from asyncemu.block.nbd.constants import CMD_DISC, MAX_REQUESTS
from asyncemu.block.nbd.messages import Request
from asyncemu.errors import ProtocolError
from asyncemu.loop import AioContext, any_thread, home
from asyncemu.memory.buffers import Buffers

#: Replies taken and receives made in one go (arbitrary; about a millisecond).
_STEPS_A_TURN: Final = 64


class ConnectionLost(Exception):
    """The request has no answer, and will have none; it may have been done."""

    def __init__(self, reason: str, *, broken: bool = False) -> None:
        super().__init__(reason)
        #: The server breaks the protocol: it is no use to ask it again.
        self.broken = broken


class _Unsent:
    """A message that is going."""

    __slots__ = ("begun", "pending", "pieces")

    def __init__(self, pieces: list[Piece], pending: PendingRequest, begun: bool) -> None:
        self.pieces = pieces
        self.pending = pending
        self.begun = begun


class ClientConnection:
    """``on_lost`` is called once, when it is lost and not closed; ``on_room`` when a full one has room again."""

    def __init__(
        self,
        context: AioContext,
        connected: Connected,
        peer: str,
        on_lost: Callable[[ConnectionLost], object],
        on_room: Callable[[], object],
    ) -> None:
        self.context = context
        self.agreement = connected.agreement
        self._channel = connected.channel
        self._fd = connected.channel.fileno()
        agreement = connected.agreement
        context_id = agreement.context.id if agreement.context is not None else None
        self._transmission = ClientTransmission(
            agreement.structured_replies, context_id, rest=connected.rest, peer=peer
        )
        self._on_lost = on_lost
        self._on_room = on_room
        #: Why, when it is.
        self.lost: ConnectionLost | None = None
        self._emptied = False
        self._unsent: deque[_Unsent] = deque()
        self._watched = (False, False)
        self._later = context.bh_new(self._go_on, "ClientConnection")
        self._watch()
        # TLS may have received more than the handshake.
        self._later.schedule()

    @property
    def in_flight(self) -> int:
        """Requests without an answer, abandoned ones included."""
        return len(self._transmission.pending)

    @home
    async def request(
        self,
        kind: int,
        flags: int,
        offset: int,
        length: int,
        *,
        into: Buffers | None = None,
        data: Buffers | None = None,
    ) -> PendingRequest:
        """Send a request and wait for its reply. ``into``: for the data of a read; ``data``: of a write.

        Cancelled, it has done with both when it raises. ConnectionLost.
        """
        if self.lost is not None:
            raise self.lost
        pending, head = self._transmission.begin(kind, flags, offset, length, into)
        answered: asyncio.Future[ConnectionLost | None] = self.context.loop.create_future()
        pending.waiter = answered
        self._send([head] if data is None else [head, *data], pending)
        try:
            lost = await answered
        except asyncio.CancelledError:
            self._abandon(pending)
            raise
        if lost is not None:
            raise lost
        return pending

    @home
    async def close(self) -> None:
        """Say goodbye, if that goes at once, and hang up. No request is in flight."""
        if self.lost is None:
            try:
                self._channel.send((Request(0, CMD_DISC, 0, 0, 0).encode(),))
            except OSError:
                pass
            self._end(ConnectionLost("closed"))

    @home
    def abort(self) -> None:
        """Hang up: requests in flight fail with ConnectionLost."""
        if self.lost is None:
            self._end(ConnectionLost("aborted"))

    @home
    def detach(self) -> None:
        """Another context is to be the home. Nobody waits for a request."""
        self._later.delete()
        self.context.set_fd_handler(self._fd, None)

    @any_thread
    def attach(self, context: AioContext) -> None:
        """``context``, which is the caller's, is the home from now on."""
        self.context = context
        self._later = context.bh_new(self._go_on, "ClientConnection")
        self._watched = (False, False)
        self._watch()
        self._later.schedule()

    @any_thread
    def __repr__(self) -> str:
        return f"<ClientConnection fd {self._fd}, {self.in_flight} in flight>"

    # ---- sending

    def _send(self, pieces: list[Piece], pending: PendingRequest) -> None:
        sent = 0
        if not self._unsent:
            try:
                sent = self._channel.send(pieces)
            except BlockingIOError:
                pass
            except OSError as error:
                self._lose(error.strerror or str(error))
                return
            if sent == sum(map(len, pieces)) and not self._channel.has_unsent:
                return
        self._unsent.append(_Unsent(behind(pieces, sent), pending, sent > 0))
        self._watch()

    def _writable(self) -> None:
        channel, unsent = self._channel, self._unsent
        try:
            while unsent:
                first = unsent[0]
                if first.pieces:
                    sent = channel.send(first.pieces)
                    first.pieces = behind(first.pieces, sent)
                    first.begun = True
                else:
                    channel.flush()
                if not first.pieces and not channel.has_unsent:
                    unsent.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        self._watch()

    def _abandon(self, pending: PendingRequest) -> None:
        """Nobody waits for it any more, and its buffers are not ours any more."""
        for message in self._unsent:
            if message.pending is pending:
                if message.begun:
                    # The server waits for the rest; the caller does not.
                    message.pieces = [bytes(piece) for piece in message.pieces]
                else:
                    self._unsent.remove(message)
                    self._transmission.pending.pop(pending.request.cookie, None)
                    if self.in_flight == MAX_REQUESTS - 1:
                        self._on_room()
                    return
                break
        self._transmission.abandon(pending)

    # ---- receiving

    def _readable(self) -> None:
        self._emptied = False
        self._go_on()

    def _go_on(self) -> None:
        if self.lost is not None:
            return
        try:
            for _ in range(_STEPS_A_TURN):
                ended = self._transmission.next()
                if ended is not None:
                    answered = ended.waiter
                    assert isinstance(answered, asyncio.Future)
                    if not answered.done():
                        answered.set_result(None)
                    if self.in_flight == MAX_REQUESTS - 1:
                        self._on_room()
                elif not self._receive():
                    return
        except ProtocolError as error:
            self._lose(str(error), broken=True)
            return
        self._later.schedule()

    def _receive(self) -> bool:
        """Has something come?"""
        if self._emptied:
            return False
        channel = self._channel
        targets = self._transmission.targets()
        try:
            count = channel.receive(targets)
        except BlockingIOError:
            return False
        except OSError as error:
            self._lose(error.strerror or str(error))
            return False
        if not count:
            self._lose("the server has hung up")
            return False
        self._transmission.received(count)
        self._emptied = not channel.has_unread and count < targets.nbytes
        return True

    # ---- the end

    def _lose(self, reason: str, *, broken: bool = False) -> None:
        if self.lost is None:
            self._end(ConnectionLost(reason, broken=broken))
            assert self.lost is not None
            self._on_lost(self.lost)

    def _end(self, why: ConnectionLost) -> None:
        self.lost = why
        self._unsent.clear()
        self._watch()
        self._later.delete()
        self._channel.shutdown()
        self._channel.close()
        pending = list(self._transmission.pending.values())
        self._transmission.pending.clear()
        for each in pending:
            answered = each.waiter
            if isinstance(answered, asyncio.Future) and not answered.done():
                answered.set_result(why)

    def _watch(self) -> None:
        alive = self.lost is None
        wanted = (alive, alive and bool(self._unsent))
        if wanted != self._watched:
            self._watched = wanted
            reading, writing = wanted
            self.context.set_fd_handler(
                self._fd, self._readable if reading else None, self._writable if writing else None
            )
