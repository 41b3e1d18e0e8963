# SPDX-License-Identifier: GPL-2.0-or-later
"""TcpRelay: a TCP connection with the guest, and a stream socket of the host that it continues in.

    guest --segments--> core --views--> sendmsg --> socket       what the socket does not take waits in the core: its
                                                                 window closes, and only this connection stalls
    guest <--frames-- port <--emit-- core <--recv_into-- socket  while the core is full, the socket is not read

Data of the guest goes from its memory straight into the socket; data of the host is received into the memory that the
segments are views of. An end of data, a reset and a refusal are passed on as what they are, both ways.

A guest's SYN is answered when the socket is connected, so the guest learns what is really there.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import NEEDS_CHECKSUM, Frame, VnetHeader
from asyncemu.net.packets import checksum, icmp, icmpv6, tcp
from asyncemu.net.tcp import Segment, TcpConnection
from asyncemu.net.user.packet import Packet
from asyncemu.net.user.paths import Path
from asyncemu.net.user.reach import Place

if TYPE_CHECKING:
    from asyncemu.net.user.tcp_relays import TcpRelays

#: Addresses and ports of the guest and of the other end, as on the wire.
Key: TypeAlias = tuple[bytes, int, bytes, int]

#: Reads from a socket in one go, of up to 64 KiB; then it is another one's turn.
READS: Final = 4
#: Buffers of one sendmsg: the kernel's limit.
_IOV_MAX: Final = os.sysconf("SC_IOV_MAX")
#: Room in the core, in bytes, from which on the socket is read again.
_ENOUGH_ROOM: Final = 32 << 10

#: A close that is a RST: socket(7), SO_LINGER.
_ABORT: Final = struct.pack("ii", 1, 0)

_UNREACHABLE: Final = {errno.ENETUNREACH: icmp.NET_UNREACHABLE, errno.EACCES: icmp.PROHIBITED}


class TcpRelay:
    """Home: the stack's. ``path`` leads to the guest."""

    __slots__ = (
        "_input_ended",
        "_output_ended",
        "_reading",
        "_relays",
        "_syn",
        "_watched",
        "_writing",
        "armed",
        "came_by_a_door",
        "core",
        "is_dirty",
        "is_over",
        "key",
        "last_heard",
        "path",
        "sock",
    )

    def __init__(self, relays: TcpRelays, key: Key, core: TcpConnection, path: Path) -> None:
        self._relays = relays
        self.key = key
        self.core = core
        self.path = path
        self.sock: socket.socket | None = None
        #: Did somebody call the guest, through a hostfwd?
        self.came_by_a_door = False
        #: The guest's SYN, until it is answered.
        self._syn: Packet | None = None
        #: Has the host's end come, and was the guest's passed on?
        self._input_ended = self._output_ended = False
        #: What the loop is to tell us of, and what it was asked to.
        self._reading = self._writing = False
        self._watched = (False, False)
        #: Is it to be looked at when the batch of frames is through?
        self.is_dirty = False
        self.is_over = False
        self.armed: int | None = None
        self.last_heard = relays.stack.now
        self.set_offloads()

    def set_offloads(self) -> None:
        """What the guest takes unfinished has changed."""
        output = self._relays.stack.output
        whole = output.tcpv4 if len(self.path.source) == 4 else output.tcpv6
        # The longest packet (RFC 791, 3.1) less its headers, which may have options.
        self.core.max_segment = 65535 - 40 - tcp.MAX_HEADER_LENGTH if whole and output.checksum else 0

    # ---- opening

    def connect(self, place: Place, syn: Packet) -> None:
        """Connect a socket for the guest's SYN; it is answered when that has succeeded or failed."""
        self._syn = syn._replace(frame=Frame.of(syn.data))
        try:
            sock = socket.socket(place.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self.opening_failed(error.errno or errno.EMFILE)
            return
        self.sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        # A peer that is gone without a word is asked about by the host's kernel.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        problem = sock.connect_ex(place.address)
        if problem == errno.EINPROGRESS:
            # On this machine it is through by now: ask again, and spare the loop a turn.
            problem = sock.connect_ex(place.address)
        if problem in (errno.EALREADY, errno.EINPROGRESS):
            self._writing = True
            self._watch()
        elif problem and problem != errno.EISCONN:
            self.opening_failed(problem)
        else:
            self.opened()

    def hold(self, syn: Packet) -> None:
        """Keep the SYN of a guest until ``attach`` or ``opening_failed``."""
        self._syn = syn._replace(frame=Frame.of(syn.data))

    def attach(self, sock: socket.socket) -> None:
        """The stream is there: a non-blocking socket, which belongs to the relay from now on."""
        if self.is_over or self.core.closed:
            sock.close()
            return
        self.sock = sock
        self.opened()

    def opened(self) -> None:
        """The socket is connected: answer the guest."""
        self._syn = None
        self._writing = False
        self.core.establish()
        self._reading = True
        self._watch()
        self._relays.mark(self)

    def opening_failed(self, problem: int) -> None:
        """There is nobody: say so as the host's kernel did to us."""
        syn, self._syn = self._syn, None
        if self.is_over:
            return
        if problem in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.EACCES) and syn is not None:
            # No RST: nobody has answered.
            code = _UNREACHABLE.get(problem, icmp.HOST_UNREACHABLE)
            self._relays.stack.unreachable(syn, code, icmpv6.ADDRESS_UNREACHABLE)
            self.discard()
            return
        self.core.refuse()
        self._relays.mark(self)

    def _connected(self, sock: socket.socket) -> None:
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            self._writing = False
            self._watch()
            self.opening_failed(problem)
        else:
            self.opened()

    # ---- from the guest

    def arrives(self, segment: Segment, payload: Buffers) -> None:
        """A segment of this connection; the payload is lent for the call."""
        core = self.core
        now = self.last_heard = self._relays.stack.now
        lent = core.segment_arrives(segment, payload, now)
        if lent:
            self._pass_on(lent)
        if core.peer_closed and core.at_end:
            self._end_output()
        if not self.is_dirty:
            self._relays.mark(self)

    def _pass_on(self, views: Buffers) -> None:
        """Data in order, lent or from the core's queue."""
        core, sock = self.core, self.sock
        if sock is None or self._writing:
            core.consumed(0)
            return
        try:
            sent = sock.sendmsg(views if len(views) <= _IOV_MAX else views[:_IOV_MAX])
        except BlockingIOError:
            sent = 0
        except OSError:
            core.consumed(0)
            self._host_is_gone()
            return
        core.consumed(sent)
        if sent < (len(views[0]) if len(views) == 1 else views.nbytes):
            self._writing = True
            self._watch()

    def _end_output(self) -> None:
        if self._output_ended or self.sock is None:
            return
        self._output_ended = True
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            # It is gone already, and reading will tell.
            pass
        self._release_if_through()

    def _on_writable(self) -> None:
        sock, core = self.sock, self.core
        if sock is None:
            return
        self._relays.stack.now = self._relays.stack.clock.now()
        if self._syn is not None:
            self._connected(sock)
        else:
            self._writing = False
            views = core.received()
            if views:
                self._pass_on(views)
            if core.received():
                self._writing = True
            elif core.at_end:
                self._end_output()
            self._watch()
            self._relays.mark(self)
        self._relays.stack.settle()

    # ---- from the host

    def _on_readable(self) -> None:
        sock, core = self.sock, self.core
        if sock is None:
            return
        for _ in range(READS):
            memory = core.reserve()
            if not memory:
                self._reading = False
                self._watch()
                break
            try:
                length = sock.recv_into(memory)
            except BlockingIOError:
                break
            except OSError:
                self._host_is_gone()
                break
            if not length:
                self._input_ended = True
                self._reading = False
                core.close()
                self._watch()
                self._release_if_through()
                break
            core.commit(length)
            if length < len(memory):
                break
        self._relays.stack.now = self._relays.stack.clock.now()
        self.transmit()

    def _host_is_gone(self) -> None:
        """A RST from there, or something as bad: the guest gets one, too."""
        self._reading = self._writing = False
        self._watch()
        self.core.abort()
        self._relays.mark(self)

    # ---- to the guest

    def transmit(self) -> bool:
        """Send what is to be sent. False: the guest has no room; it goes on when there is."""
        self.is_dirty = False
        if self.is_over:
            return True
        relays = self._relays
        core = self.core
        sent = core.transmit(self._emit, relays.stack.now)
        if not sent:
            relays.stack.output.wait(self)
        if core.closed:
            if sent and (core.reason is not None or self._output_ended or self.sock is None):
                self.discard()
            return sent
        relays.stack.deadlines.touch(self)
        if not self._reading and not self._input_ended and core.established and core.room >= _ENOUGH_ROOM:
            self._reading = True
            self._watch()
        return sent

    def on_room(self) -> bool:
        """See Waiter."""
        return self.transmit()

    def _emit(self, segment: Segment, payload: Buffers) -> bool:
        path = self.path
        stack = self._relays.stack
        length = len(payload[0]) if len(payload) == 1 else payload.nbytes
        _, guest_port, _, port = self.key
        output = stack.output
        if output.checksum:
            unsummed = path.tcp_unsummed
            header = tcp.pack_header(port, guest_port, segment, 0)
            total = path.pseudo + len(header) + length
            header = header[:16] + (total % 65535).to_bytes(2, "big") + header[18:]
            if length > self.core.segment_size:
                vnet = VnetHeader(
                    NEEDS_CHECKSUM,
                    path.gso_type,
                    path.length + len(header),
                    self.core.segment_size,
                    unsummed.checksum_start,
                    unsummed.checksum_offset,
                )
            else:
                vnet = unsummed
        else:
            header = tcp.pack_header(port, guest_port, segment, 0)
            total = checksum.add_views([header, *payload], path.pseudo + len(header) + length)
            header = header[:16] + (total ^ 0xFFFF).to_bytes(2, "big") + header[18:]
            vnet = VnetHeader()
        mac = stack.neighbours.lookup(path.destination)
        head = memoryview(path.head(mac or bytes(6), len(header) + length) + header)
        frame = Frame(Buffers((head, *payload)), vnet)
        if mac is None:
            stack.neighbours.hold(path.destination, frame, stack.now)
            return True
        return output.send(frame)

    # ---- time and the end

    def next_deadline(self) -> int | None:
        """See Owner."""
        return self.core.next_deadline()

    def on_deadline(self, now: int) -> None:
        """See Owner."""
        self._relays.stack.now = now
        self.core.on_deadline(now)
        self._relays.mark(self)

    @property
    def is_lingering(self) -> bool:
        """Is there nothing left but to acknowledge the guest's last segments?"""
        return self.sock is None and self._output_ended

    def _release_if_through(self) -> None:
        """Both directions have ended: the socket is not needed any more."""
        if self._input_ended and self._output_ended and self.sock is not None:
            self._close_socket(reset=False)
            self._relays.linger(self.key)

    def discard(self) -> None:
        """It is over; the host's side is told how it ended."""
        stack = self._relays.stack
        self.is_over = True
        self._close_socket(reset=self.core.reason is not None or not self.core.closed)
        stack.deadlines.forget(self)
        stack.output.forget(self)
        self._relays.remove(self.key, self)

    def abort(self) -> None:
        """End it from our side: RSTs both ways."""
        self.core.abort()
        self._relays.mark(self)

    def _watch(self) -> None:
        """Have the loop tell us what we want to know."""
        sock = self.sock
        wanted = (self._reading, self._writing)
        if sock is not None and wanted != self._watched:
            self._watched = wanted
            on_readable = self._on_readable if self._reading else None
            on_writable = self._on_writable if self._writing else None
            self._relays.stack.context.set_fd_handler(sock.fileno(), on_readable, on_writable)

    def _close_socket(self, *, reset: bool) -> None:
        sock = self.sock
        if sock is None:
            return
        self._reading = self._writing = False
        self._watch()
        self.sock = None
        if reset and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        sock.close()
