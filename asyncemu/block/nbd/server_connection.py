# SPDX-License-Identifier: GPL-2.0-or-later
"""ServerConnection: one client in transmission: requests off the channel, replies onto it.

Bounded, so that a bad client hurts itself only: so many requests and so many bytes of theirs are in flight, then no
more is read; replies wait in their requests. After so many steps other users of the loop have a turn.

Home: the export's backend's context, which need not be the server's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from asyncemu.block.nbd.buffer_pool import BufferPool
from asyncemu.block.nbd.channel import Channel, Piece, behind
from asyncemu.block.nbd.constants import CMD_BLOCK_STATUS, CMD_DISC, CMD_FLAG_REQ_ONE, CMD_WRITE, MAX_REQUESTS
from asyncemu.block.nbd.export import NbdExport
from asyncemu.block.nbd.messages import Request
from asyncemu.block.nbd.server_negotiation import ServerNegotiation
from asyncemu.block.nbd.server_requests import ClientGone, RequestHandler
from asyncemu.block.nbd.server_transmission import Incoming, RequestParser, Terms
from asyncemu.coroutines import start
from asyncemu.errors import ProtocolError
from asyncemu.loop import AioContext, any_thread, home
from asyncemu.memory.buffers import Buffers

#: Bytes of data of requests in flight beyond which no more is read: two of the longest (arbitrary).
MAX_BYTES: Final = 64 << 20
#: Bytes of memory of as many extents as one reply has room for.
_EXTENTS_BYTES: Final = 16 << 20
#: Requests taken and receives made in one go (arbitrary; about a millisecond).
_STEPS_A_TURN: Final = 64

_END_OF_FILE: Final = "Unexpected end-of-file before all bytes were read"


class ServerConnection:
    """While it is ``suspended``, as it is at first: ``resume`` and ``run``. The channel is its caller's to close."""

    def __init__(self, channel: Channel, negotiation: ServerNegotiation, export: NbdExport, peer: str) -> None:
        assert negotiation.export is not None
        self.context = export.backend.context
        #: Why the client was hung up on, if it was.
        self.reason = ""
        self._channel = channel
        self._fd = channel.fileno()
        contexts = [context.id for context in negotiation.contexts]
        structured = negotiation.structured_replies
        terms = Terms(negotiation.export.size, export.read_only, structured, bool(contexts))
        self._pool = BufferPool()
        self._parser = RequestParser(terms, self._pool.take, rest=negotiation.rest(), peer=peer)
        self._handle = RequestHandler(export, contexts, structured, self._pool, self).handle
        self._in_flight = 0
        self._bytes = 0
        #: Too much is in flight: the end of a request goes on.
        self._paused = False
        #: The last receive has left nothing in the socket.
        self._emptied = False
        #: No request is taken any more; over when none is in flight.
        self._stopping = False
        #: No request is taken for now: ``run`` has not begun, or returns when none is in flight.
        self.suspended = True
        #: Nothing can be sent any more.
        self._gone = False
        #: Replies that are going: what is left of them.
        self._outgoing: deque[tuple[list[Piece], asyncio.Future[None]]] = deque()
        self._watched = (False, False)
        self._ended: asyncio.Future[None] | None = None

    @home
    async def run(self) -> None:
        """Serve until the client leaves, breaks the protocol, ``suspend`` or ``stop``; no request is in flight then."""
        self._ended = self.context.loop.create_future()
        self._later = self.context.bh_new(self._go_on, "ServerConnection")
        self._emptied = False
        try:
            self._go_on()
            self._end_if_idle()
            await self._ended
        except BaseException:
            # Cancelled, it leaves requests behind, which must not send.
            self._stopping = self._gone = True
            raise
        finally:
            self._later.delete()
            self._watch()

    @home
    async def suspend(self) -> None:
        """End ``run``, as soon as what is in flight has been answered; it may be called again behind ``resume``."""
        self.suspended = True
        self._watch()
        self._end_if_idle()

    @any_thread
    def resume(self, context: AioContext) -> bool:
        """``run`` it now, in ``context``. It is not running. False: there is no use, it is to end."""
        self.suspended = False
        self.context = context
        return not self._stopping

    @home
    async def stop(self) -> None:
        """Take no more requests; those in flight are answered. Spec: proto.md, "Terminating the transmission phase"."""
        self._stopping = True
        self._watch()
        self._end_if_idle()

    @home
    def abort(self) -> None:
        """Take no more requests, and send nothing."""
        self._lose("")

    @any_thread
    def __repr__(self) -> str:
        return f"<ServerConnection fd {self._fd}, {self._in_flight} in flight>"

    # ---- requests

    def _readable(self) -> None:
        self._emptied = False
        self._go_on()

    def _go_on(self) -> None:
        """Take requests and receive, until nothing is there, or enough was done."""
        parser = self._parser
        try:
            for _ in range(_STEPS_A_TURN):
                if self._stopping or self.suspended:
                    return
                if self._in_flight >= MAX_REQUESTS or self._bytes >= MAX_BYTES:
                    self._paused = True
                    self._watch()
                    return
                incoming = parser.next() if parser.midway else None
                if incoming is not None:
                    self._begin(incoming)
                elif self._emptied or not self._receive():
                    self._watch()
                    return
        except ProtocolError as error:
            self._lose(error.problem)
            return
        self._later.schedule()

    def _receive(self) -> bool:
        """Has something come?"""
        channel = self._channel
        target = self._parser.buffer()
        try:
            count = channel.receive(Buffers((target,)))
        except BlockingIOError:
            return False
        except OSError as error:
            self._lose(error.strerror or str(error))
            return False
        if not count:
            self.reason = _END_OF_FILE
            self._stopping = True
            self._end_if_idle()
            return False
        self._parser.received(count)
        self._emptied = count < len(target) and not channel.has_unread
        return True

    def _begin(self, incoming: Incoming) -> None:
        request, _, refusal = incoming
        if request.type == CMD_DISC:
            self._stopping = True
            self._watch()
            self._end_if_idle()
            return
        self._in_flight += 1
        self._bytes += request.length if request.type <= CMD_WRITE else _memory(request)
        if refusal is not None and refusal.fatal:
            # What follows are its data, which are not to be taken for requests while the answer waits for its turn.
            self._stopping = True
            self._watch()
        start(self.context, self._handle(incoming))

    # ---- for the handler

    @home
    def done(self, incoming: Incoming) -> None:
        """See Replies."""
        request, _, refusal = incoming
        self._in_flight -= 1
        self._bytes -= request.length if request.type <= CMD_WRITE else _memory(request)
        if refusal is not None and refusal.fatal:
            # Its data follow, and there is no telling where they end that we would wait for.
            self._lose(refusal.message)
        elif self._stopping or self.suspended:
            self._paused = False
            self._end_if_idle()
        elif self._paused:
            self._paused = False
            self._later.schedule()

    @home
    def hang_up(self, reason: str) -> None:
        """See Replies."""
        self._lose(reason)

    @home
    def send(self, pieces: Sequence[Piece]) -> asyncio.Future[None] | None:
        """See Replies."""
        if self._gone:
            raise ClientGone
        sent = 0
        if not self._outgoing:
            try:
                sent = self._channel.send(pieces)
            except BlockingIOError:
                pass
            except OSError as error:
                self._lose(error.strerror or str(error))
                raise ClientGone from error
            if sent == (len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))) and not self._channel.has_unsent:
                return None
        future: asyncio.Future[None] = self.context.loop.create_future()
        self._outgoing.append((behind(pieces, sent), future))
        self._watch()
        return future

    def _writable(self) -> None:
        channel, outgoing = self._channel, self._outgoing
        try:
            # What goes at once is no more than the socket holds.
            while outgoing:
                left, future = outgoing[0]
                if left:
                    left = behind(left, channel.send(left))
                else:
                    channel.flush()
                outgoing[0] = left, future
                if left or channel.has_unsent:
                    continue
                outgoing.popleft()
                if not future.done():
                    future.set_result(None)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        self._watch()

    # ---- the end

    def _lose(self, reason: str) -> None:
        """There is no use in going on."""
        self.reason = self.reason or reason
        self._stopping = self._gone = True
        for _, future in self._outgoing:
            if not future.done():
                future.set_exception(ClientGone())
        self._outgoing.clear()
        self._channel.shutdown()
        self._watch()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        ends = self._stopping or self.suspended
        if ends and not self._in_flight and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _watch(self) -> None:
        """Watch for what there is a use for."""
        reads = not (self._stopping or self.suspended or self._paused)
        wanted = (reads, bool(self._outgoing) and not self._gone)
        if wanted != self._watched:
            self._watched = wanted
            reading, writing = wanted
            self.context.set_fd_handler(
                self._fd, self._readable if reading else None, self._writable if writing else None
            )


def _memory(request: Request) -> int:
    """Bytes that one without data may take until it is answered, where they matter."""
    return _EXTENTS_BYTES if request.type == CMD_BLOCK_STATUS and not request.flags & CMD_FLAG_REQ_ONE else 0
