# SPDX-License-Identifier: GPL-2.0-or-later
"""Connection: one peer of a socket chardev, from the wire through TLS and a codec to the chardev and back.

    shaking hands ──▶ established ──▶ closed

Flow control. In: the wire is read for what the chardev has room for, and a codec never makes more of it; TLS may hold a
record, which is asked for first. Out: data is encoded a piece at a time, and a piece counts as sent when the last byte
of its encoding is; until then the chardev keeps it, and the rest behind it.
Home: that of the chardev.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from asyncemu.chardev.chardev import Chardev
from asyncemu.chardev.codec import Codec, Signal
from asyncemu.chardev.descriptor import READ_SIZE
from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.chardev.wire import Wire
from asyncemu.errors import ProtocolError
from asyncemu.loop import home

if TYPE_CHECKING:
    from asyncemu.chardev.tls import TlsLayer

#: Bytes that are encoded at once: what a TLS record takes.
WRITE_SIZE: Final = 16 * 1024

#: Bytes of TLS that are received at once: a record and its frame.
_TLS_READ_SIZE: Final = 18 * 1024

#: Seconds for TLS and the codec to agree with the peer. Arbitrary: a living peer needs less than one, and one that
#: says nothing must not keep the next one out.
HANDSHAKE_TIMEOUT: Final = 10.0


class Connection:
    """``on_established`` and ``on_lost`` (why; empty when the peer has just left) are called once each at most.

    The constructor raises OSError (EMFILE), and has taken nothing then.
    """

    def __init__(
        self,
        chardev: Chardev[Any],
        wire: Wire,
        codec: Codec,
        tls: TlsLayer | None,
        on_established: Callable[[], object],
        on_lost: Callable[[str], object],
    ) -> None:
        self.context = chardev.context
        self.wire = wire
        self.established = False
        self._chardev = chardev
        self._codec = codec
        self._tls = tls
        self._on_established = on_established
        self._on_lost = on_lost
        self._loop = chardev.context.loop
        self._fd = wire.fileno()
        self._closed = False
        self._reading = False
        self._waiting = False
        #: Encoded and not sent; and how much data of the chardev's this is the encoding of.
        self._pending = bytearray()
        self._held = 0
        # A peer that leaves while the guest takes no input is noticed here: nobody reads the end of the stream then.
        # Edge-triggered: said once.
        self._hangup = select.epoll()
        self._hangup.register(self._fd, select.EPOLLRDHUP | select.EPOLLET)
        self._loop.add_reader(self._hangup.fileno(), self._hung_up)
        self._held_by_tls = self.context.bh_new(self._readable, f"{chardev.id}-tls")
        self._deadline = self._loop.call_later(HANDSHAKE_TIMEOUT, self._fail, "the handshake takes too long")

    @home
    def start(self) -> None:
        """Begin with the handshake; ``on_established`` may be called in here."""
        self._read_from_now_on()
        self._shake_hands()

    # ---- the chardev's side

    @home
    def write(self, data: bytes) -> int:
        """What ``Chardev.transmit`` returns; ``Chardev.flush_unsent`` is called when more goes."""
        if self._closed or not self.established:
            return len(data)
        if not self._flush():
            return len(data) if self._closed else 0
        sent, self._held = self._held, 0
        while sent < len(data):
            piece = data[sent : sent + WRITE_SIZE]
            self._queue(self._codec.encode(piece))
            if not self._flush():
                self._held = len(piece)
                break
            sent += len(piece)
        return len(data) if self._closed else sent

    @home
    def resume(self) -> None:
        """The chardev has room."""
        if self.established and not self._closed and self._chardev.room() > 0:
            self._read_from_now_on()

    @home
    def forget_unsent(self) -> None:
        """The chardev has discarded what it kept: no piece of it is on its way any more."""
        self._held = 0

    @home
    def close(self) -> None:
        """Say goodbye if that goes at once, and hang up. May be called again; ``on_lost`` is not called."""
        if self._closed:
            return
        if self.established and not self._pending:
            self._queue(self._codec.farewell())
            self._say_goodbye()
        self._give_back()

    def _give_back(self) -> None:
        self._closed = True
        self._deadline.cancel()
        self._stop_reading()
        self._stop_waiting()
        self._loop.remove_reader(self._hangup.fileno())
        self._hangup.close()
        self.wire.close()

    # ---- in

    def _read_from_now_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)
            if self._tls is not None and self._tls.has_unread:
                self._held_by_tls.schedule()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)
        self._held_by_tls.cancel()

    def _readable(self) -> None:
        room = self._chardev.room() if self.established else READ_SIZE
        if room <= 0:
            self._stop_reading()
            return
        try:
            data = self._read(min(room, READ_SIZE))
        except BlockingIOError:
            return
        except OSError:
            data = b""  # ECONNRESET: whose fault it is does not matter
        if data is None:
            self._shake_hands()
        elif not data:
            self._lost()
        else:
            self._receive(data)

    def _read(self, limit: int) -> bytes | None:
        """Data for the codec, none at the end; None: what came was for TLS alone."""
        if self._tls is None:
            return self.wire.receive(limit)
        if not self._tls.established:
            received = self.wire.receive(_TLS_READ_SIZE)
            if not received:
                return b""
            self._tls.feed(received)
            return None
        while (data := self._tls.read(limit)) is None:
            self._tls.feed(self.wire.receive(_TLS_READ_SIZE))
        return data

    def _receive(self, data: bytes) -> None:
        try:
            received = self._codec.receive(data)
        except ProtocolError as error:
            self._fail(str(error))
            return
        self._flush()
        if not self.established:
            self._shake_hands()
        for part in received:
            if self._closed:
                return
            if isinstance(part, bytes):
                self._chardev.deliver(part)
            elif part is Signal.BREAK:
                self._chardev.event(ChardevEvent.BREAK)
            else:
                self._queue(self._codec.farewell())
                self._lost()
        if self._closed or not self._reading:
            return
        if self.established and self._chardev.room() <= 0:
            self._stop_reading()
        elif self._tls is not None and self._tls.has_unread:
            self._held_by_tls.schedule()

    def _shake_hands(self) -> None:
        if self._closed or self.established:
            return
        if self._tls is not None and not self._tls.established:
            problem = self._tls.advance()
            if problem:
                self._fail(f"TLS handshake failed: {problem}")
                return
            self._flush()
            if not self._tls.established:
                return
        # Also when this has said all that there is to say in a handshake: telnet's greeting.
        self._flush()
        if self._closed:
            return
        if self._codec.established:
            self.established = True
            self._deadline.cancel()
            self._on_established()
        # Data may have come with the last of the handshake.
        if self._reading and self._tls is not None and self._tls.has_unread:
            self._held_by_tls.schedule()

    def _hung_up(self) -> None:
        if self._closed:
            return
        self._hangup.poll(0)
        # What the peer left behind is read first; the end of the stream follows it.
        if not (self._tls is not None and self._tls.has_unread) and self.wire.peer_left():
            self._lost()

    # ---- out

    def _queue(self, data: bytes) -> None:
        if self._tls is not None and data:
            self._tls.write(data)
        elif data:
            self._pending += data

    def _flush(self) -> bool:
        """Send what is pending, and then what the protocols owe the peer. True: all of it is sent."""
        while not self._closed:
            if not self._pending:
                if self._tls is None or self._tls.established:
                    self._queue(self._codec.take_replies())
                if self._tls is not None:
                    self._pending += self._tls.take_outgoing()
            if not self._pending:
                self._stop_waiting()
                return True
            try:
                sent = self.wire.send(bytes(self._pending))
            except BlockingIOError:
                if not self._waiting:
                    self._waiting = True
                    self._loop.add_writer(self._fd, self._writable)
                return False
            except OSError:
                self._lost()
                return False
            del self._pending[:sent]
        return False

    def _writable(self) -> None:
        if self._flush():
            self._chardev.flush_unsent()

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._fd)

    # ---- the end

    def _fail(self, problem: str) -> None:
        """Leave a peer that breaks the rules; it is told why if that goes at once."""
        if self._closed:
            return
        if self._tls is None or self._tls.established:
            self._queue(self._codec.take_replies() + self._codec.farewell())
        self._lost(problem)

    def _lost(self, problem: str = "") -> None:
        if self._closed:
            return
        if not self.established and not problem:
            problem = "the peer hung up during the handshake"
        self._say_goodbye()
        self._give_back()
        self._on_lost(problem)

    def _say_goodbye(self) -> None:
        if self._tls is not None:
            if self._tls.established:
                self._tls.say_goodbye()
            self._pending += self._tls.take_outgoing()
        try:
            if self._pending:
                self.wire.send(bytes(self._pending))
        except OSError:
            pass  # it is gone, or reads nothing
        self._pending.clear()
