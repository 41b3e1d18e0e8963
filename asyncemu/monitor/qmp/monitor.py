# SPDX-License-Identifier: GPL-2.0-or-later
"""QmpMonitor: QMP on a chardev: the front end that reads requests, and sends replies and events.

    chardev ──bytes──▶ JsonReader ──▶ Session ──requests──▶ Dispatcher (main loop)
       ▲                                │ oob: at once            │
       └────── lines ◀── Outbox ◀───────┴──────── replies ────────┴── events

Its home is the chardev's: the monitors' thread, as a rule, so that a client is read, parsed and written to while the
main loop does other things. The dispatcher takes from ``requests``; all that comes back goes through an Outbox.

Nothing grows without bound. As long as MAX_REQUESTS wait (without oob: one waits or runs), or MAX_UNSENT bytes of
output, no more is read of what the client writes. A client that reads nothing thus stops only itself.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from asyncemu.chardev import Chardev, ChardevEvent
from asyncemu.chardev.chardev import CLOSE_TIMEOUT
from asyncemu.events import Occurrence
from asyncemu.loop import any_thread, home
from asyncemu.monitor.command import find
from asyncemu.monitor.commands.about import version
from asyncemu.monitor.control import Control
from asyncemu.monitor.descriptors import NamedDescriptors
from asyncemu.monitor.qmp.event_throttle import key_of
from asyncemu.monitor.qmp.json_reader import JsonReader
from asyncemu.monitor.qmp.outbox import Outbox
from asyncemu.monitor.qmp.running import internal_error, run_at_once
from asyncemu.monitor.qmp.session import Request, Session
from asyncemu.monitor.qmp.wire import event_message, to_line

#: Requests that wait for the dispatcher, with oob. QEMU: QMP_REQ_QUEUE_LEN_MAX.
MAX_REQUESTS: Final = 8
#: Bytes that a client has not taken, from which on it gets nothing more for the moment, and is not read. Arbitrary.
MAX_UNSENT: Final = 1 << 20
#: Bytes that are read at once: what is held for a client at most, beyond one message. Arbitrary.
READ_SIZE: Final = 4096


class Client:
    """One who is connected. Requests count as ``taken`` at home, and as ``answered`` in the main loop."""

    __slots__ = ("answered", "outbox", "session", "taken")

    def __init__(self) -> None:
        self.session = Session()
        self.outbox = Outbox()
        self.taken = self.answered = 0


class QmpMonitor:
    """Home: the chardev's context. ``attach``, and ``close`` in the end. One client after the other."""

    def __init__(
        self, control: Control, chardev: Chardev[Any], id: str, kick: Callable[[], object], *, pretty: bool = False
    ) -> None:
        self.context = chardev.context
        self.id = id
        #: What getfd has kept. They are the monitor's: a client that comes back finds them again.
        self.descriptors = NamedDescriptors()
        #: What the dispatcher is to do, the oldest first; it takes them away.
        self.requests: deque[tuple[Client, Request]] = deque()
        self._control = control
        self._chardev = chardev
        self._kick = kick
        self._pretty = pretty
        self._reader = JsonReader()
        self._client: Client | None = None
        self._unsent = bytearray()
        self._send_bh = self.context.bh_new(self._go_on, "qmp-send")
        self._sent = asyncio.Event()

    @home
    def attach(self) -> None:
        """Begin; a client that is there already is greeted."""
        self._chardev.attach(self)

    @home
    async def close(self) -> None:
        """Wait until the client has taken what is there for it, unless it seems to be stuck; then leave."""
        self._send()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                while self._unsent:
                    self._sent.clear()
                    await self._sent.wait()
        except TimeoutError:
            # Or the chardev would wait for it again.
            self._chardev.discard_unsent()
        self._chardev.detach(self)
        self._leave()
        self._send_bh.delete()

    # ---- for the dispatcher, for commands, and for whoever tells of events

    @any_thread
    def took(self) -> None:
        """The dispatcher has taken a request: there may be room for another one."""
        if len(self.requests) == MAX_REQUESTS - 1:
            self._send_bh.schedule()

    @any_thread
    def answer(self, client: Client, message: dict[str, Any]) -> None:
        """A request of ``client`` is done. When it is gone, nobody hears that."""
        client.outbox.put_reply(message)
        client.answered += 1
        self._send_bh.schedule()

    @any_thread
    def tell(self, occurrence: Occurrence) -> None:
        """Something has happened. A client that has not negotiated hears nothing of it."""
        client = self._client
        if client is not None and client.session.negotiated:
            client.outbox.put_event(key_of(occurrence), event_message(occurrence))
            self._send_bh.schedule()

    @home
    async def take_descriptor(self) -> int | None:
        """A file descriptor that came with what the client sent last, the first of them; None: none came."""
        fds = self._chardev.take_fds()
        for fd in fds[1:]:
            os.close(fd)
        return fds[0] if fds else None

    # ---- as the chardev's front end

    @home
    def can_receive(self) -> int:
        """See Frontend."""
        return 0 if self._suspended() else READ_SIZE

    @home
    def receive(self, data: bytes) -> None:
        """See Frontend."""
        self._reader.feed(data)
        self._read()

    @home
    def chardev_event(self, event: ChardevEvent) -> None:
        """See Frontend."""
        if event is ChardevEvent.OPENED:
            self._leave()
            self._client = Client()
            self._client.outbox.put_reply(self._client.session.greeting(version().to_wire()))
            self._send()
        elif event is ChardevEvent.CLOSED:
            self._leave()

    @home
    def writable(self) -> None:
        """See Frontend."""
        self._go_on()

    # ---- inside

    def _leave(self) -> None:
        self._client = None
        self.requests.clear()
        self._reader.reset()
        self._unsent.clear()
        self._sent.set()

    def _suspended(self) -> bool:
        client = self._client
        if client is None or len(self._unsent) > MAX_UNSENT:
            return True
        if client.session.oob:
            return len(self.requests) >= MAX_REQUESTS
        return client.taken > client.answered

    def _read(self) -> None:
        while not self._suspended() and (item := self._reader.read()) is not None:
            client = self._client
            assert client is not None  # or it would be suspended
            request = client.session.take(item)
            reply = self._answer_at_once(client, request)
            if reply is not None:
                client.outbox.put_reply(reply)
                self._send()
            else:
                client.taken += 1
                self.requests.append((client, request))
                self._kick()

    def _answer_at_once(self, client: Client, request: Request) -> dict[str, Any] | None:
        """The reply to what needs no dispatcher; None: it does, or is to wait behind others that do."""
        if not client.session.negotiated:
            return client.session.negotiate(request)
        if not request.out_of_band and client.taken > client.answered:
            return None
        if request.error is not None:
            return request.refusal(request.error)
        if request.out_of_band or ((command := find(request.name)) is not None and command.anywhere):
            return run_at_once(self._control, self, request)
        return None

    def _go_on(self) -> None:
        """There is something to send, or room for what is there, or a request has been done."""
        self._send()
        self._read()
        if not self._suspended():
            self._chardev.accept_input()

    def _send(self) -> None:
        while (client := self._client) is not None and len(self._unsent) <= MAX_UNSENT:
            if (message := client.outbox.take()) is None:
                break
            self._unsent += self._line(message)
        if self._unsent:
            # The client may be found to be gone by this.
            taken = self._chardev.write(bytes(self._unsent))
            del self._unsent[:taken]
        if not self._unsent:
            self._sent.set()

    def _line(self, message: dict[str, Any]) -> bytes:
        try:
            return to_line(message, self._pretty)
        except (TypeError, ValueError) as error:
            # A bug in whoever made it: what a command returned is no JSON.
            refusal = {"error": internal_error("QMP message", error).to_wire()}
            return to_line({"id": message["id"], **refusal} if "id" in message else refusal, self._pretty)
