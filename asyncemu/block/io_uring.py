# SPDX-License-Identifier: GPL-2.0-or-later
"""An io_uring instance: two rings shared with the kernel, by ctypes and mmap. io_uring_queue.py adds the event loop.

io_uring_setup(2), io_uring_enter(2), io_uring_register(2), and Jens Axboe's "Efficient IO with io_uring".

What it relies on:
- One thread uses it. Without SQPOLL the kernel reads the submission ring only inside io_uring_enter, a call of the same
  thread, so that no memory barrier is needed there. Completions are looked at after a system call (enter, or the read
  of the eventfd), which orders them.
- Kernel 5.6 or later, for READ and WRITE without an iovec and for the probe.
- Whoever submits keeps at most ``entries`` requests in flight; the completion ring is twice as large and can't
  overflow.
- Memory that the kernel was given stays until the completion has been seen: the caller's duty.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Iterable
from typing import Final

OP_READV: Final = 1
OP_WRITEV: Final = 2
OP_FSYNC: Final = 3
OP_FALLOCATE: Final = 17
OP_READ: Final = 22
OP_WRITE: Final = 23

FSYNC_DATASYNC: Final = 1

# The same numbers on all architectures that Linux has got since 5.1, x86-64, arm64 and riscv64 among them.
_SYS_SETUP: Final = 425
_SYS_ENTER: Final = 426
_SYS_REGISTER: Final = 427

_FEAT_SINGLE_MMAP: Final = 1 << 0
_FEAT_NODROP: Final = 1 << 1
_REGISTER_EVENTFD: Final = 4
_REGISTER_PROBE: Final = 8
_OP_SUPPORTED: Final = 1 << 0
_OFF_RINGS: Final = 0
_OFF_SQES: Final = 0x10000000
_UINT32: Final = 0xFFFFFFFF

#: struct io_uring_params: entries, flags and features, then the ring offsets (10 words each) at bytes 40 and 80.
_PARAMS_SIZE: Final = 120
_params_head: Final = struct.Struct("<7I")
_ring_offsets: Final = struct.Struct("<8I")

#: struct io_uring_sqe up to user_data: opcode, flags, ioprio, fd, off, addr, len, op flags, user_data; then 0.
_sqe: Final = struct.Struct("<BBHiQQIIQ")
_SQE_SIZE: Final = 64
#: struct io_uring_cqe: user_data, res (flags follow).
_cqe: Final = struct.Struct("<Qi")
_CQE_SIZE: Final = 16

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


class IoUring:
    """One instance with room for ``entries`` (a power of two) requests.

    OSError when the kernel has none: ENOSYS (too old), EPERM (kernel.io_uring_disabled, a container's filter), ENOMEM.
    """

    def __init__(self, entries: int) -> None:
        params = (ctypes.c_char * _PARAMS_SIZE)()
        self.fd = _checked(_syscall(_SYS_SETUP, entries, params), "io_uring_setup")
        try:
            self._map(params.raw)
        except BaseException:
            os.close(self.fd)
            raise
        #: Prepared and not yet taken by the kernel.
        self.prepared = 0

    def _map(self, params: bytes) -> None:
        self.entries, cq_entries, _, _, _, features, _ = _params_head.unpack_from(params, 0)
        if ~features & (_FEAT_SINGLE_MMAP | _FEAT_NODROP):
            raise OSError(errno.ENOSYS, "io_uring of this kernel is too old")
        _, sq_tail, sq_mask, _, _, _, sq_array, _ = _ring_offsets.unpack_from(params, 40)
        cq_head, cq_tail, cq_mask, _, _, cqes, _, _ = _ring_offsets.unpack_from(params, 80)
        size = max(sq_array + self.entries * 4, cqes + cq_entries * _CQE_SIZE)
        flags, protection = mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ | mmap.PROT_WRITE
        self._rings = mmap.mmap(self.fd, size, flags, protection, offset=_OFF_RINGS)
        self._sqes = mmap.mmap(self.fd, self.entries * _SQE_SIZE, flags, protection, offset=_OFF_SQES)
        words = memoryview(self._rings)[: size // 4 * 4].cast("I")
        self._sq_tail = words[sq_tail // 4 : sq_tail // 4 + 1]
        self._sq_mask = words[sq_mask // 4]
        self._cq_head = words[cq_head // 4 : cq_head // 4 + 1]
        self._cq_tail = words[cq_tail // 4 : cq_tail // 4 + 1]
        self._cq_mask = words[cq_mask // 4]
        self._cqes = cqes
        # The array that maps ring slots to submission entries stays the identity.
        for index in range(self.entries):
            words[sq_array // 4 + index] = index
        words.release()

    def register_eventfd(self, fd: int) -> None:
        """Ring the eventfd ``fd`` at each completion."""
        argument = (ctypes.c_int * 1)(fd)
        _checked(_syscall(_SYS_REGISTER, self.fd, _REGISTER_EVENTFD, argument, 1), "io_uring_register")

    def supports(self, opcodes: Iterable[int]) -> bool:
        """Does the kernel know all of ``opcodes``?"""
        # struct io_uring_probe: 16 bytes of head, then 8 bytes per opcode: op, reserved, flags (16 bits), reserved.
        probe = (ctypes.c_char * (16 + 256 * 8))()
        if _syscall(_SYS_REGISTER, self.fd, _REGISTER_PROBE, probe, 256) < 0:
            return False
        raw = probe.raw
        last = raw[0]
        return all(op <= last and raw[16 + op * 8 + 2] & _OP_SUPPORTED for op in opcodes)

    def prepare(
        self, opcode: int, fd: int, offset: int, address: int, length: int, op_flags: int, user_data: int
    ) -> None:
        """Put a request on the submission ring. There must be room: fewer than ``entries`` are ``prepared``."""
        tail = self._sq_tail[0]
        slot = (tail & self._sq_mask) * _SQE_SIZE
        _sqe.pack_into(self._sqes, slot, opcode, 0, 0, fd, offset, address, length, op_flags, user_data)
        self._sq_tail[0] = (tail + 1) & _UINT32
        self.prepared += 1

    def submit(self) -> int:
        """Hand over what is ``prepared``; how many the kernel took, maybe a part. OSError as in io_uring_enter(2)."""
        taken = _checked(_syscall(_SYS_ENTER, self.fd, self.prepared, 0, 0, None, 0), "io_uring_enter")
        self.prepared -= taken
        return taken

    def withdraw(self) -> list[int]:
        """Take back what the kernel has not taken: the ``user_data`` of each."""
        tail = self._sq_tail[0]
        withdrawn = []
        for back in range(self.prepared, 0, -1):
            slot = ((tail - back) & self._sq_mask) * _SQE_SIZE
            withdrawn.append(_sqe.unpack_from(self._sqes, slot)[-1])
        self._sq_tail[0] = (tail - self.prepared) & _UINT32
        self.prepared = 0
        return withdrawn

    def has_completions(self) -> bool:
        """Has anything ended since the last look? Memory only, no system call."""
        return self._cq_head[0] != self._cq_tail[0]

    def completions(self) -> list[tuple[int, int]]:
        """What has ended since the last look: (``user_data``, result or negative errno) each."""
        head, tail = self._cq_head[0], self._cq_tail[0]
        ended = []
        while head != tail:
            ended.append(_cqe.unpack_from(self._rings, self._cqes + (head & self._cq_mask) * _CQE_SIZE))
            head = (head + 1) & _UINT32
        self._cq_head[0] = head
        return ended

    def close(self) -> None:
        """Give everything back. Nothing is in flight."""
        for words in (self._sq_tail, self._cq_head, self._cq_tail):
            words.release()
        self._sqes.close()
        self._rings.close()
        os.close(self.fd)
