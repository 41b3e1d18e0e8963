# SPDX-License-Identifier: GPL-2.0-or-later
"""UdpSocket: a datagram socket of the host for one port of the guest.

What arrives goes from the socket straight into the guest's receive buffer, the headers in front of it; while the guest
has no room the socket is not read.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import PLAIN, Filled, Frame, VnetHeader
from asyncemu.net.packets import checksum, ipv4, ipv6, udp
from asyncemu.net.user import error_queue
from asyncemu.net.user.addresses import text_of
from asyncemu.net.user.error_queue import UNREACHABLE, PacketError
from asyncemu.net.user.packet import Packet
from asyncemu.net.user.paths import MTU, Path, path_between

if TYPE_CHECKING:
    from asyncemu.net.user.stack import Stack

#: Datagrams that are read in one go; then it is another socket's turn.
READS: Final = 32
#: Callers whose headers are kept.
MAX_PATHS: Final = 64

#: Bytes of a frame.
_CAPACITY: Final = 14 + MTU

# Where the part of a datagram goes that does not fit a frame; copied before anything else is received.
_overflow: Final = memoryview(bytearray(65536))


class UdpSocket:
    """Home: the stack's. Subclasses say what a sender is called within the guest's network."""

    def __init__(self, stack: Stack, sock: socket.socket, guest: bytes, port: int) -> None:
        self.stack = stack
        self.sock = sock
        self.guest = guest
        self.port = port
        self._paths: dict[bytes, Path] = {}
        self._heads: dict[tuple[tuple[bytes, int], int], tuple[bytes, bytes, Filled]] = {}
        self._is_empty = False
        self._reading = False
        # uvloop stops watching a socket when there is an error (EPOLLERR), without a word.
        self._erred = False
        self.is_closed = False
        error_queue.enable(sock)
        self._watch(True)

    def called(self, address: tuple[str, int]) -> tuple[bytes, int] | None:
        """Sender or addressee outside, as the guest knows it; None: the guest is to get nothing from there."""
        raise TypeError(f"{type(self).__name__} does not define called()")

    def send(self, payload: Buffers, address: tuple[str, int]) -> int:
        """Send the guest's datagram: 0, or an errno."""
        try:
            self.sock.sendmsg(payload, (), 0, address)
        except BlockingIOError:
            self.stack.drop("UDP that the host had no room for")
        except OSError as error:
            if error.errno not in UNREACHABLE or not self._read_errors():
                return error.errno or errno.EIO
            # That was about an earlier one.
            try:
                self.sock.sendmsg(payload, (), 0, address)
            except OSError as second:
                return second.errno or errno.EIO
        return 0

    def close(self) -> None:
        """No more."""
        self.is_closed = True
        self._watch(False)
        self.stack.output.forget(self)
        self.sock.close()

    # ---- to the guest

    def on_room(self) -> bool:
        """See Waiter."""
        self._watch(True)
        return self._receive()

    def on_readable(self) -> None:
        """Datagrams have arrived, or errors."""
        self.stack.now = self.stack.clock.now()
        has_room = self._receive()
        if self._erred:
            self._erred = False
            self._watch(False)
            self._watch(True)
        if not has_room:
            self._watch(False)
            self.stack.output.wait(self)

    def _receive(self) -> bool:
        """False: the guest has no room."""
        self._is_empty = False
        output = self.stack.output
        for _ in range(READS):
            if not output.send_into(_CAPACITY, self._fill):
                return False
            if self._is_empty:
                break
        return True

    def _fill(self, views: Buffers) -> Filled | None:
        """Receive a datagram behind the place for its headers, and put them there."""
        length = (34 if len(self.guest) == 4 else 54) + udp.HEADER_LENGTH
        if len(views) == 1:
            head = views[0][:length]
            body = Buffers((views[0][length:_CAPACITY],))
        else:
            whole, rest = views.split(length)
            head = memoryview(bytearray(length))
            body = rest.head(_CAPACITY - length, len(rest))
        try:
            nbytes, _, _, address = self.sock.recvmsg_into([*body, _overflow])
        except BlockingIOError:
            self._is_empty = True
            return None
        except OSError:
            self._erred = True
            self._read_errors()
            return None
        caller = self.called(address)
        if caller is None:
            self.stack.drop("UDP that nobody has asked for")
            return None
        if nbytes > _CAPACITY - length:
            self._send_long(caller, body, nbytes)
            return None
        mac = self.stack.neighbours.lookup(self.guest)
        # With the checksum left to the guest, datagrams of one length from one caller have the same headers.
        known = self._heads.get((caller, nbytes)) if self.stack.output.checksum else None
        if known is not None and known[0] == mac:
            _, headers, result = known
        else:
            headers, result = self._make_head(caller, mac or bytes(6), body, nbytes)
            if mac is not None and result.vnet is not PLAIN:
                if len(self._heads) >= MAX_PATHS:
                    self._heads.clear()
                self._heads[caller, nbytes] = mac, headers, result
        head[:] = headers
        if len(views) > 1:
            whole.write(head)
        if mac is None:
            frame = Frame.of(
                head.tobytes(), b"".join(body.head(nbytes, len(body))) if nbytes else b"", vnet=result.vnet
            )
            self.stack.neighbours.hold(self.guest, frame, self.stack.now)
            return None
        return result

    def _make_head(self, caller: tuple[bytes, int], mac: bytes, body: Buffers, nbytes: int) -> tuple[bytes, Filled]:
        """All headers of a datagram, and what is to be said of the frame."""
        address, port = caller
        path = self._path(address)
        length = udp.HEADER_LENGTH + nbytes
        total = path.pseudo + length
        vnet: VnetHeader
        if self.stack.output.checksum:
            value, vnet = total % 65535, path.udp_unsummed
        else:
            total += port + self.port + length
            value = checksum.add_views(body.head(nbytes, len(body)) if nbytes else (), total) ^ 0xFFFF or 0xFFFF
            vnet = PLAIN
        headers = path.head(mac, length) + udp.pack_header(port, self.port, nbytes, value)
        return headers, Filled(path.length + length, vnet)

    def _path(self, source: bytes) -> Path:
        path = self._paths.get(source)
        if path is None:
            if len(self._paths) >= MAX_PATHS:
                self._paths.clear()
            path = path_between(self.stack.addresses.mac, source, self.guest, udp.PROTOCOL)
            self._paths[source] = path
        return path

    def _send_long(self, caller: tuple[bytes, int], body: Buffers, nbytes: int) -> None:
        """One that is cut into fragments on the way."""
        data = b"".join(body)
        data += _overflow[: nbytes - len(data)]
        self.stack.send_udp(caller, (self.guest, self.port), data)

    # ---- errors

    def _read_errors(self) -> bool:
        """Tell the guest what became of datagrams that the host sent for it; false when nothing was to be told."""
        found = False
        for error in error_queue.read_errors(self.sock):
            found = self._erred = True
            if error is not None:
                self._tell(error)
        return found

    def _tell(self, error: PacketError) -> None:
        called = self.called(error.address)
        if called is None:
            return
        destination, port = called
        datagram = udp.pack(self.guest, destination, self.port, port, error.data)
        packet: Packet
        if len(self.guest) == 4:
            quoted = ipv4.Header(self.guest, destination, udp.PROTOCOL).pack(len(datagram)) + datagram
            packet = Packet(ipv4.parse(quoted), quoted, Frame.of(quoted), b"", 0, True)
        else:
            quoted = ipv6.Header(self.guest, destination, udp.PROTOCOL).pack(len(datagram)) + datagram
            packet = Packet(ipv6.parse(quoted), quoted, Frame.of(quoted), b"", 0, True)
        self.stack.unreachable(packet, *UNREACHABLE[error.number])

    def _watch(self, reading: bool) -> None:
        if reading is not self._reading:
            self._reading = reading
            self.stack.context.set_fd_handler(self.sock.fileno(), self.on_readable if reading else None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {text_of(self.guest)} port {self.port}>"
