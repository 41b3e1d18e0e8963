# SPDX-License-Identifier: GPL-2.0-or-later
"""ClientSession: connections to one export, several where the server likes that, and new ones for those that are lost.

    CONNECTED ----all connections lost----> WAITING ----reconnect-delay is over----> FAILING
        ^                                      |                                        |
        +------------a connection is back------+----------------------------------------+

CONNECTED, requests go out, at most MAX_REQUESTS on a connection. WAITING, they wait, and those that were in flight are
sent again when a connection is back. FAILING, they fail at once (without a reconnect-delay that is so from the
beginning). In the background the server is tried again, after 1, 2, 4, 8 and from then on each 16 seconds.
A server that breaks the protocol is not asked again: all fails. QEMU: NBDClientState.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections import deque
from typing import Final, NamedTuple

from asyncemu.block.nbd.client_connection import ClientConnection, ConnectionLost
from asyncemu.block.nbd.client_negotiation import Agreement
from asyncemu.block.nbd.client_transmission import PendingRequest
from asyncemu.block.nbd.connecting import Connected, Server, connect_to_export
from asyncemu.block.nbd.constants import (
    BASE_ALLOCATION,
    FLAG_CAN_MULTI_CONN,
    FLAG_READ_ONLY,
    FLAG_SEND_FAST_ZERO,
    FLAG_SEND_FLUSH,
    FLAG_SEND_FUA,
    FLAG_SEND_TRIM,
    FLAG_SEND_WRITE_ZEROES,
    MAX_REQUESTS,
)
from asyncemu.coroutines import Coroutine, co_sleep_ns, start
from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext, Clock, HasHome, Timer, any_thread, home
from asyncemu.memory.buffers import Buffers

_SECOND: Final = 1_000_000_000
#: Between two attempts, in ns; doubled each time, up to the second. QEMU's.
_FIRST_PAUSE: Final = _SECOND
_LONGEST_PAUSE: Final = 16 * _SECOND

#: What a server can't take back when it is connected to again.
_FEATURES: Final = FLAG_SEND_FLUSH | FLAG_SEND_FUA | FLAG_SEND_TRIM | FLAG_SEND_WRITE_ZEROES | FLAG_SEND_FAST_ZERO


class SessionOptions(NamedTuple):
    """What a session is to be like."""

    server: Server
    export: str
    #: The metadata context to ask about.
    context: str = BASE_ALLOCATION
    connections: int = 1
    #: In ns.
    reconnect_delay: int = 0
    open_timeout: int = 0


class _Link:
    """One connection, or the attempts to have it back."""

    def __init__(self) -> None:
        self.connection: ClientConnection | None = None
        self.attempts: Coroutine[None] | None = None


class ClientSession(HasHome):
    """``open`` it first. Home: ``context``."""

    def __init__(self, context: AioContext, options: SessionOptions, clock: Clock) -> None:
        self.context = context
        self._options = options
        self._clock = clock
        #: Of the first connection; later ones fit to it.
        self.agreement: Agreement
        self._links: list[_Link] = []
        #: No connection, and requests wait for one.
        self._waiting = False
        self._timer: Timer = context.timer(clock, self._delay_is_over)
        #: The server has broken the protocol, or the session is closed: why.
        self._over = ""
        #: Requests that wait for a connection or for room on one.
        self._waiters: deque[asyncio.Future[None]] = deque()

    # ---- life cycle

    @home
    async def open(self) -> Agreement:
        """Connect. ConfigError, in QEMU's words; with ``open_timeout`` only when it is over."""
        options = self._options
        connected = await self._first()
        self.agreement = connected.agreement
        self._links.append(_Link())
        self._connected(self._links[0], connected)
        if options.connections > 1 and self.agreement.export.flags & FLAG_CAN_MULTI_CONN:
            for _ in range(options.connections - 1):
                link = _Link()
                self._links.append(link)
                self._reconnect(link)
        return self.agreement

    @home
    async def close(self) -> None:
        """Hang up. No request is in flight."""
        self._over = self._over or "closed"
        await self._stop_attempts()
        for link in self._links:
            if link.connection is not None:
                await link.connection.close()
                link.connection = None
        self._wake_all()

    @home
    def yank(self) -> None:
        """End all connections at once and have no more: requests in flight fail. QEMU: nbd_yank."""
        self._over = self._over or "yanked"
        self._cancel_attempts()
        for link in self._links:
            if link.connection is not None:
                link.connection.abort()
                link.connection = None
        self._wake_all()

    @home
    async def detach(self) -> None:
        """Another context is to be the home. No request is in flight."""
        await self._stop_attempts()
        for link in self._links:
            if link.connection is not None:
                link.connection.detach()

    @any_thread
    def attach(self, context: AioContext) -> None:
        """``context``, which is the caller's, is the home from now on."""
        self.context = context
        self._timer = context.timer(self._clock, self._delay_is_over)
        self._waiting = False
        for link in self._links:
            if link.connection is not None:
                link.connection.attach(context)
            elif not self._over:
                self._reconnect(link)

    async def _stop_attempts(self) -> None:
        for attempts in self._cancel_attempts():
            with contextlib.suppress(asyncio.CancelledError):
                await attempts

    def _cancel_attempts(self) -> list[Coroutine[None]]:
        self._timer.cancel()
        cancelled = []
        for link in self._links:
            if link.attempts is not None:
                link.attempts.cancel()
                cancelled.append(link.attempts)
                link.attempts = None
        return cancelled

    # ---- requests

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
        """Send a request and wait for its reply; see ClientConnection. OSError: there is none."""
        while True:
            connection = self._free_connection() if not self._waiters else None
            if connection is None:
                connection = await self._wait_for_connection()
            try:
                return await connection.request(kind, flags, offset, length, into=into, data=data)
            except ConnectionLost:
                if self._over or not (self._waiting or self._alive()):
                    raise self._failure() from None

    def _free_connection(self) -> ClientConnection | None:
        """The one with the fewest requests, when there is room."""
        best: ClientConnection | None = None
        for link in self._links:
            connection = link.connection
            if connection is not None and (best is None or connection.in_flight < best.in_flight):
                best = connection
        return best if best is not None and best.in_flight < MAX_REQUESTS else None

    async def _wait_for_connection(self) -> ClientConnection:
        waited = False
        while True:
            if self._over or not (self._waiting or self._alive()):
                raise self._failure()
            if waited or not self._waiters:
                connection = self._free_connection()
                if connection is not None:
                    # There may be room for more than one.
                    self._wake_one()
                    return connection
            waiter: asyncio.Future[None] = self.context.loop.create_future()
            if waited:
                # It was its turn, and somebody was quicker.
                self._waiters.appendleft(waiter)
            else:
                self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                else:
                    self._wake_one()
                raise
            waited = True

    def _alive(self) -> bool:
        return any(link.connection is not None for link in self._links)

    def _failure(self) -> OSError:
        return OSError(errno.EIO, self._over or "the connection to the server is lost")

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_all(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    # ---- connections

    async def _connect(self) -> Connected:
        options = self._options
        return await connect_to_export(options.server, options.export, options.context)

    async def _first(self) -> Connected:
        """The first connection, tried until ``open_timeout`` is over."""
        timeout = self._options.open_timeout
        deadline = self._clock.now() + timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                return await (self._attempt(deadline) if timeout else self._connect())
            except ConfigError:
                left = deadline - self._clock.now()
                if left <= 0:
                    raise
            await co_sleep_ns(self._clock, min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _attempt(self, deadline: int) -> Connected:
        attempt = start(self.context, self._connect())
        timed_out = False

        def give_up() -> None:
            nonlocal timed_out
            timed_out = attempt.cancel()

        timer = self.context.timer(self._clock, give_up)
        timer.mod(deadline)
        try:
            return await attempt
        except asyncio.CancelledError:
            if timed_out:
                raise ConfigError("open-timeout", "Connection attempt cancelled by other operation") from None
            attempt.cancel()
            raise
        finally:
            timer.cancel()

    def _connected(self, link: _Link, connected: Connected) -> None:
        link.connection = ClientConnection(
            self.context,
            connected,
            str(self._options.server.address),
            lambda why: self._lost(link, why),
            self._wake_one,
        )
        self._waiting = False
        self._timer.cancel()
        self._wake_all()

    def _lost(self, link: _Link, why: ConnectionLost) -> None:
        link.connection = None
        if why.broken:
            self._over = str(why)
            self._cancel_attempts()
            for each in self._links:
                if each.connection is not None:
                    each.connection.abort()
                    each.connection = None
            self._tell(f"{why}; it is not asked again")
            self._wake_all()
            return
        self._tell(f"connection lost: {why}")
        if not self._alive():
            if self._options.reconnect_delay:
                self._waiting = True
                self._timer.mod(self._clock.now() + self._options.reconnect_delay)
            else:
                self._wake_all()
        self._reconnect(link)

    def _delay_is_over(self) -> None:
        self._waiting = False
        self._wake_all()

    def _reconnect(self, link: _Link) -> None:
        attempts = start(self.context, self._try_again(link), self._attempts_ended)
        link.attempts = None if attempts.done() else attempts

    def _attempts_ended(self, attempts: Coroutine[None]) -> None:
        if isinstance(attempts.error, Exception):
            details = {"message": attempts.get_name(), "exception": attempts.error}
            attempts.context.loop.call_exception_handler(details)

    async def _try_again(self, link: _Link) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                connected = await self._connect()
                problem = self._unfit(connected.agreement)
                if not problem:
                    link.attempts = None
                    self._connected(link, connected)
                    return
                connected.channel.shutdown()
                connected.channel.close()
                self._tell(problem)
            except ConfigError:
                pass
            await co_sleep_ns(self._clock, pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _unfit(self, agreement: Agreement) -> str:
        """Why the export is not what it was; empty: it is."""
        before, now = self.agreement.export, agreement.export
        if now.size < before.size:
            return f"the export is {now.size} bytes long now, not {before.size}"
        if now.flags & FLAG_READ_ONLY and not before.flags & FLAG_READ_ONLY:
            return "the export is read-only now"
        if before.flags & ~now.flags & _FEATURES:
            return f"the export has less features now: flags {now.flags:#x}, not {before.flags:#x}"
        if now.block_sizes is not None and before.block_sizes is not None:
            smaller = now.block_sizes.minimum <= before.block_sizes.minimum
            if not smaller or now.block_sizes.maximum < before.block_sizes.maximum:
                return "the export has other block sizes now"
        return ""

    def _tell(self, what: str) -> None:
        import logging

        logging.getLogger("asyncemu.block.nbd").warning("nbd: %s: %s", self._options.server.address, what)
