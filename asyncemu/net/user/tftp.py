# SPDX-License-Identifier: GPL-2.0-or-later
"""TftpServer: files for firmware that boots from the network, to read only. RFC 1350; options: RFC 2347, 2348, 2349.

The server does no I/O, and asks for it: what it returns are packets to send and things to do with files, in order.

    receive(request) -> Open             the caller opens the file and calls opened or refused
    opened           -> Send (options), or Read, then Send of the first block from ``have``
    receive(ack)     -> Read -> have -> Send        until a block is shorter than the others
    expire           -> Send again, or Close when nobody answers

One transfer for each port of the guest. All go from port 69, as with QEMU: a client takes the port that answers.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, NamedTuple, TypeAlias

from asyncemu.net.packets import tftp
from asyncemu.net.packets.errors import Malformed

_SECOND: Final = 1_000_000_000

#: How long a client may take for its answer, in ns, when it does not say: RFC 2349 has no default, tftpd takes one.
TIMEOUT: Final = _SECOND
#: How often a packet is sent until the transfer is given up.
MAX_SENT: Final = 6

#: Transfers at most; the one that has waited for longest makes room. QEMU has 20.
MAX_TRANSFERS: Final = 32

#: Bytes of a name: more than any path of a boot file, and less than a request has anyway.
_MAX_NAME: Final = 255


class Send(NamedTuple):
    """A packet for the guest's socket that ``client`` stands for."""

    client: Hashable
    payload: bytes


class Open(NamedTuple):
    """Open a file for reading: call ``opened`` with its size, or ``refused``.

    ``name``: a relative path without empty parts, ``.`` and ``..``. It may lead through links out of the folder:
    whoever opens it must hold it there (openat2 with RESOLVE_BENEATH).
    """

    client: Hashable
    name: str


class Read(NamedTuple):
    """Read so much of the file, less only at its end: call ``have``."""

    client: Hashable
    offset: int
    length: int


class Close(NamedTuple):
    """The transfer is over: the file is not needed any more, and nothing of it is to be reported."""

    client: Hashable


Action: TypeAlias = Send | Open | Read | Close


class _Transfer:
    """One file on its way to one client."""

    __slots__ = ("block", "block_size", "deadline", "is_text", "last", "offset", "packet", "reading", "request", "rest")

    def __init__(self, request: tftp.Request) -> None:
        self.request = request
        self.is_text = request.mode == "netascii"
        self.block_size = tftp.BLOCK_SIZE
        #: Number of the block that was sent last, not cut to 16 bits, and is it the last one?
        self.block = 0
        self.last = False
        #: The packet that waits for its acknowledgment; None: the file is waited for.
        self.packet: bytes | None = None
        self.deadline = _Deadline(0, TIMEOUT, 0)
        #: How much of the file has been read, and what of it, as text, did not fit the last block.
        self.offset = 0
        self.rest = b""
        self.reading = False


class _Deadline(NamedTuple):
    when: int
    timeout: int
    #: How often the packet was sent.
    sent: int


class TftpServer:
    """State: the transfers. ``max_block_size`` in bytes: what fits the MTU, so that no packet is cut."""

    def __init__(self, max_block_size: int = 1500 - 28 - 4) -> None:
        self._max_block_size = max_block_size
        self._transfers: dict[Hashable, _Transfer] = {}
        #: Transfers that made room or that nobody answered.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._transfers)

    def receive(self, payload: bytes, client: Hashable, now: int) -> list[Action]:
        """A packet of the guest: what is to be done. Raises Malformed."""
        packet = tftp.parse(payload)
        if isinstance(packet, tftp.Request):
            return self._request(packet, client)
        transfer = self._transfers.get(client)
        if isinstance(packet, tftp.Error):
            # RFC 1350, 7: not answered.
            return self._close(client) if transfer is not None else []
        if transfer is None:
            return [Send(client, tftp.pack_error(tftp.UNKNOWN_TRANSFER, "Unknown transfer ID"))]
        if transfer.packet is None or packet.block != transfer.block & 0xFFFF:
            # A block that is acknowledged twice is not sent twice: the Sorcerer's Apprentice (RFC 1123, 4.2.3.1).
            return []
        if transfer.last:
            return self._close(client)
        return self._next(client, transfer, now)

    def opened(self, client: Hashable, size: int, now: int) -> list[Action]:
        """The file of ``Open`` is there, and has ``size`` bytes."""
        transfer = self._transfers.get(client)
        if transfer is None:
            return [Close(client)]
        agreed = self._agree(transfer, size)
        if not agreed:
            return self._next(client, transfer, now)
        # RFC 2347: acknowledged as block 0.
        return [self._send(client, transfer, tftp.pack_options(agreed), now)]

    def refused(self, client: Hashable, code: int, message: str) -> list[Action]:
        """There is no such file, or it can't be read, now or further on: the error for the guest."""
        if self._transfers.pop(client, None) is None:
            return []
        return [Send(client, tftp.pack_error(code, message)), Close(client)]

    def have(self, client: Hashable, data: bytes, now: int) -> list[Action]:
        """What ``Read`` asked for. Less than that: the file ends here."""
        transfer = self._transfers.get(client)
        if transfer is None or not transfer.reading:
            return []
        transfer.reading = False
        wanted = transfer.block_size
        transfer.offset += len(data)
        block = transfer.rest + (_to_netascii(data) if transfer.is_text else data)
        # A text is longer than its file: what does not fit begins the next block.
        transfer.rest = block[wanted:]
        block = block[:wanted]
        transfer.last = len(block) < wanted
        transfer.block += 1
        return [self._send(client, transfer, tftp.pack_data(transfer.block & 0xFFFF, block), now)]

    def next_deadline(self) -> int | None:
        """When ``expire`` has something to do, in ns."""
        waiting = (each.deadline.when for each in self._transfers.values() if each.packet is not None)
        return min(waiting, default=None)

    def expire(self, now: int) -> list[Action]:
        """Packets that were not acknowledged in time are sent again, and in the end no more."""
        actions: list[Action] = []
        for client, transfer in list(self._transfers.items()):
            if transfer.packet is None or transfer.deadline.when > now:
                continue
            _, timeout, sent = transfer.deadline
            if sent >= MAX_SENT:
                # The last block may have arrived, and its acknowledgment not.
                self.dropped += not transfer.last
                actions += self._close(client)
            else:
                transfer.deadline = _Deadline(now + timeout, timeout, sent + 1)
                actions.append(Send(client, transfer.packet))
        return actions

    # ----

    def _request(self, request: tftp.Request, client: Hashable) -> list[Action]:
        known = self._transfers.get(client)
        if known is not None and known.request == request and known.packet is None and not known.block:
            # Sent again while the file is being opened.
            return []
        actions = self._close(client) if known is not None else []
        if request.is_write:
            return [*actions, Send(client, tftp.pack_error(tftp.ACCESS_VIOLATION, "Access violation"))]
        if request.mode not in ("octet", "netascii"):
            return [*actions, Send(client, tftp.pack_error(tftp.ILLEGAL_OPERATION, "Illegal TFTP operation"))]
        try:
            name = clean_name(request.name)
        except Malformed:
            return [*actions, Send(client, tftp.pack_error(tftp.ACCESS_VIOLATION, "Access violation"))]
        while len(self._transfers) >= MAX_TRANSFERS:
            oldest = min(self._transfers, key=lambda each: self._transfers[each].deadline.when)
            actions += self._close(oldest)
            self.dropped += 1
        self._transfers[client] = _Transfer(request)
        return [*actions, Open(client, name)]

    def _agree(self, transfer: _Transfer, size: int) -> dict[str, str]:
        """The options of the request that we know, with our values: RFC 2347. Others are left out."""
        agreed = {}
        for option, text in transfer.request.options.items():
            value = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1
            if option == "blksize" and tftp.MIN_BLOCK_SIZE <= value <= tftp.MAX_BLOCK_SIZE:
                # RFC 2348: we may take less.
                transfer.block_size = min(value, self._max_block_size)
                agreed[option] = str(transfer.block_size)
            elif option == "timeout" and 1 <= value <= 255:
                transfer.deadline = _Deadline(0, value * _SECOND, 0)
                agreed[option] = str(value)
            elif option == "tsize" and not transfer.is_text:
                # RFC 2349: as it will be transferred, which of a text nobody knows yet.
                agreed[option] = str(size)
        return agreed

    def _next(self, client: Hashable, transfer: _Transfer, now: int) -> list[Action]:
        """The block behind the one that was acknowledged."""
        transfer.packet = None
        if len(transfer.rest) >= transfer.block_size:
            block = transfer.rest[: transfer.block_size]
            transfer.rest = transfer.rest[transfer.block_size :]
            transfer.block += 1
            return [self._send(client, transfer, tftp.pack_data(transfer.block & 0xFFFF, block), now)]
        transfer.reading = True
        return [Read(client, transfer.offset, transfer.block_size)]

    def _send(self, client: Hashable, transfer: _Transfer, packet: bytes, now: int) -> Send:
        transfer.packet = packet
        timeout = transfer.deadline.timeout
        transfer.deadline = _Deadline(now + timeout, timeout, 1)
        return Send(client, packet)

    def _close(self, client: Hashable) -> list[Action]:
        del self._transfers[client]
        return [Close(client)]


def clean_name(name: str) -> str:
    """``name`` as a relative path below the folder. Raises Malformed: it leads out of it, or is none."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or len(name) > _MAX_NAME:
        raise Malformed("TFTP name leads out of the folder, or is none")
    return "/".join(parts)


def _to_netascii(data: bytes) -> bytes:
    """RFC 764 as RFC 1350, 1 names it: a line ends with CR LF, and a CR that is none of that with CR NUL."""
    return data.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
