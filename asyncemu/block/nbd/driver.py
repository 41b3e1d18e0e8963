# SPDX-License-Identifier: GPL-2.0-or-later
"""NbdDriver: an export of an NBD server as a disk. QEMU: block/nbd.c."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.flags import FUA, MAY_UNMAP, NO_FALLBACK, STATUS_DATA, STATUS_OFFSET_VALID, STATUS_ZERO
from asyncemu.block.limits import BlockLimits
from asyncemu.block.nbd.client_negotiation import Agreement
from asyncemu.block.nbd.client_options import NbdOptions, TlsOptions, address_of
from asyncemu.block.nbd.client_session import ClientSession, SessionOptions
from asyncemu.block.nbd.clock import realtime_clock
from asyncemu.block.nbd.connecting import Server
from asyncemu.block.nbd.constants import (
    BASE_ALLOCATION,
    CMD_BLOCK_STATUS,
    CMD_FLAG_FAST_ZERO,
    CMD_FLAG_FUA,
    CMD_FLAG_NO_HOLE,
    CMD_FLAG_REQ_ONE,
    CMD_FLUSH,
    CMD_READ,
    CMD_TRIM,
    CMD_WRITE,
    CMD_WRITE_ZEROES,
    FLAG_READ_ONLY,
    FLAG_SEND_FAST_ZERO,
    FLAG_SEND_FLUSH,
    FLAG_SEND_FUA,
    FLAG_SEND_TRIM,
    FLAG_SEND_WRITE_ZEROES,
    MAX_BUFFER_SIZE,
    MAX_STRING_SIZE,
    QEMU_ALLOCATION_DEPTH,
    STATE_HOLE,
    STATE_ZERO,
)
from asyncemu.block.nbd.option_messages import encode_text
from asyncemu.block.types import BlockStatus, Preallocation, Reopening
from asyncemu.block.unchangeable import refuse_own_changes
from asyncemu.errors import ConfigError
from asyncemu.loop.markers import any_thread
from asyncemu.memory.buffers import Buffers

if TYPE_CHECKING:
    from asyncemu.block.nbd.tls import TlsCredentials

_SECOND: Final = 1_000_000_000
_SECTOR: Final = 512
#: Longest request without data, before it is aligned: the field has 32 bits, and servers may take them for signed.
_MAX_LENGTH: Final = 0x7FFFFFFF
_LARGEST_SIZE: Final = (1 << 63) - 1


class NbdDriver(BlockDriver[NbdOptions], name="nbd"):
    """One export. Requests that wait for a lost connection end by themselves after ``reconnect-delay``."""

    description = "An export of an NBD server."
    protocol = "nbd"

    async def open(self) -> int:
        """Connect, and choose the export; its size. ConfigError, in QEMU's words."""
        options = self.options
        if len(encode_text(options.export)) > MAX_STRING_SIZE:
            raise ConfigError("export", "export name too long to send to server")
        if len(encode_text(options.x_dirty_bitmap)) > MAX_STRING_SIZE:
            raise ConfigError("x-dirty-bitmap", "x-dirty-bitmap query too long to send to server")
        address = address_of(options)
        wanted = SessionOptions(
            Server(address, self._credentials(), options.tls_hostname),
            options.export,
            options.x_dirty_bitmap or BASE_ALLOCATION,
            options.connections,
            options.reconnect_delay * _SECOND,
            options.open_timeout * _SECOND,
        )
        self._session = ClientSession(self.context, wanted, realtime_clock())
        agreement = await self._session.open()
        try:
            self._adopt(agreement)
        except BaseException:
            await self._session.close()
            raise
        return agreement.export.size

    def _credentials(self) -> TlsCredentials | None:
        wanted = self.options.tls_creds
        if not wanted:
            return None
        if isinstance(wanted, str):
            credentials = self.environment.tls_credentials(wanted, "tls-creds")
            if credentials.endpoint != "client":
                raise ConfigError("tls-creds", "Expecting TLS credentials with a client endpoint")
            return credentials
        from asyncemu.block.nbd.tls import X509Credentials

        table = TlsOptions.parse(wanted, "tls-creds")
        return X509Credentials(table.dir, "client", verify_peer=table.verify_peer)

    def _adopt(self, agreement: Agreement) -> None:
        """What the server can do is what we can do."""
        export = agreement.export
        flags = self._flags = export.flags
        if export.size > _LARGEST_SIZE:
            raise ConfigError("export", "export length is too large")
        if self.options.x_dirty_bitmap and agreement.context is None:
            raise ConfigError("x-dirty-bitmap", f"requested x-dirty-bitmap {self.options.x_dirty_bitmap} not found")
        if flags & FLAG_READ_ONLY and not self.read_only:
            if not self.options.auto_read_only:
                raise ConfigError("read-only", "Could not open image: Permission denied", "set read-only = true")
            self.read_only = True
        self.write_flags = FUA if flags & FLAG_SEND_FUA else 0
        if flags & FLAG_SEND_WRITE_ZEROES:
            self.zero_flags = self.write_flags | MAY_UNMAP
            if flags & FLAG_SEND_FAST_ZERO:
                self.zero_flags |= NO_FALLBACK
        self.limits = _limits(agreement)
        self._depth = self.options.x_dirty_bitmap == QEMU_ALLOCATION_DEPTH

    async def close(self) -> None:
        """Say goodbye."""
        await self._session.close()

    @any_thread
    def yank(self) -> None:
        """Hang up soon, whatever is in flight: requests fail from then on. QMP: yank."""
        self.context.schedule_oneshot(self._session.yank)

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        """Only what every driver has may change; and the server decides whether it may be written."""
        refuse_own_changes(self.options, options)
        if self._flags & FLAG_READ_ONLY and not options.read_only and not options.auto_read_only:
            raise ConfigError("read-only", "request on write denied without write permission")
        return None

    async def detach_context(self) -> None:
        """See BlockDriver."""
        await self._session.detach()

    async def attach_context(self) -> None:
        """See BlockDriver."""
        self._session.attach(self.context)

    # ---- requests

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        """Into the buffers as it comes; cancelled, they are left alone."""
        await self._request(CMD_READ, 0, offset, buffers.nbytes, into=buffers)

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        """FUA where the server has it."""
        await self._request(CMD_WRITE, CMD_FLAG_FUA if flags & FUA else 0, offset, buffers.nbytes, data=buffers)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """ENOTSUP where the server has no such request."""
        if not self._flags & FLAG_SEND_WRITE_ZEROES:
            raise OSError(errno.ENOTSUP, "the server can't write zeroes")
        command_flags = 0 if flags & MAY_UNMAP else CMD_FLAG_NO_HOLE
        if flags & FUA:
            command_flags |= CMD_FLAG_FUA
        if flags & NO_FALLBACK:
            command_flags |= CMD_FLAG_FAST_ZERO
        await self._request(CMD_WRITE_ZEROES, command_flags, offset, length)

    async def discard(self, offset: int, length: int) -> None:
        """Nothing where the server has no such request: it is a hint."""
        if self._flags & FLAG_SEND_TRIM:
            await self._request(CMD_TRIM, 0, offset, length)

    async def flush(self) -> None:
        """Nothing where the server has no such request: it does not cache then."""
        if self._flags & FLAG_SEND_FLUSH:
            await self._request(CMD_FLUSH, 0, 0, 0)

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        """One extent of ``base:allocation``; all is data where the server does not tell."""
        if self._session.agreement.context is None:
            return BlockStatus(STATUS_DATA | STATUS_OFFSET_VALID, length, offset, self.node)
        alignment = self.limits.request_alignment
        length = min(length, _MAX_LENGTH // alignment * alignment)
        answer = await self._session.request(CMD_BLOCK_STATUS, CMD_FLAG_REQ_ONE, offset, length)
        if answer.error:
            raise OSError(answer.error, answer.message or "block status")
        if not answer.extents:
            # Connected again, the server tells no more.
            return BlockStatus(STATUS_DATA | STATUS_OFFSET_VALID, length, offset, self.node)
        known, state = answer.extents[0]
        if self._depth:
            # All depths beyond this layer are one; they would be taken for flags.
            state = min(state, STATE_ZERO)
        known = min(known, length)
        if known % alignment:
            # Against the spec, but it happens at the end of an export that has grown.
            known, state = (known // alignment * alignment, state) if known > alignment else (alignment, 0)
        status = STATUS_OFFSET_VALID
        if not state & STATE_HOLE:
            status |= STATUS_DATA
        if state & STATE_ZERO:
            status |= STATUS_ZERO
        return BlockStatus(status, known, offset, self.node)

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        """The server decides about the size."""
        now = self.node.size
        if size > now:
            raise ConfigError("size", "Cannot grow NBD nodes")
        if exact and size != now:
            raise ConfigError("size", "Cannot resize NBD nodes")
        return now

    async def allocated_size(self) -> int:
        """The server does not tell."""
        raise OSError(errno.ENOTSUP, "the server does not tell how much storage it spends")

    async def _request(
        self,
        kind: int,
        flags: int,
        offset: int,
        length: int,
        *,
        into: Buffers | None = None,
        data: Buffers | None = None,
    ) -> None:
        answer = await self._session.request(kind, flags, offset, length, into=into, data=data)
        if answer.error:
            raise OSError(answer.error, answer.message or "the server refuses")


def _limits(agreement: Agreement) -> BlockLimits:
    """QEMU: nbd_refresh_limits."""
    export, sizes = agreement.export, agreement.export.block_sizes
    if sizes is not None:
        minimum = sizes.minimum
        maximum = min(MAX_BUFFER_SIZE, sizes.maximum)
    else:
        # A size that is no multiple of a sector says that smaller requests are all right, and so do extents. Without
        # either the server may be of a time when that went without saying.
        any_alignment = export.size % _SECTOR or agreement.context is not None
        minimum = 1 if any_alignment else _SECTOR
        maximum = MAX_BUFFER_SIZE
    return BlockLimits(
        request_alignment=minimum,
        max_transfer=maximum // minimum * minimum,
        opt_transfer=sizes.preferred if sizes is not None else 0,
        max_write_zeroes=maximum // minimum * minimum,
        max_discard=_MAX_LENGTH // minimum * minimum,
    )
