# SPDX-License-Identifier: GPL-2.0-or-later
"""A split virtqueue in guest memory that a hostile guest has written, and goes on writing while the device works.

    1 byte    log2 of the queue's size, and the features
    6 bytes   where the three areas are
    2 bytes   the available index
    1 byte    how many of the parts are written before the device begins, modulo 16
    then      parts of memory: 2 bytes where, 1 byte length, the bytes; each other part before a step of the device

May be raised: GuestError, which ends the queue.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Final

from asyncemu.errors import GuestError
from asyncemu.memory import AddressSpace, GuestRam
from asyncemu.virtio.chain import Chain
from asyncemu.virtio.split_queue import SplitQueue
from fuzz.choices import Choices
from fuzz.driving import Defect

_BASE: Final = 0x8000_0000
_RAM_SIZE: Final = 1 << 14
#: Steps of the device: more than any queue holds.
_STEPS: Final = 64
#: Copied of a chain at most, as a device does.
_COPIED: Final = 4096


def fuzz_one(data: bytes) -> None:
    """Serve the queue that ``data`` makes."""
    memory = _memory()
    memory.write(_BASE, bytes(_RAM_SIZE))
    choices = Choices(data)
    kind = choices.number(1)
    size = 1 << (kind & 7)
    descriptors, available, used = (choices.number(2) for _ in range(3))
    try:
        queue = SplitQueue(
            memory,
            size,
            _BASE + descriptors // 16 * 16,
            _BASE + available // 2 * 2,
            _BASE + used // 4 * 4,
            event_index=bool(kind & 0x80),
            indirect=bool(kind & 0x40),
        )
    except GuestError:
        return
    memory.write(_BASE + available // 2 * 2 + 2, choices.take(2)[::-1].ljust(2, b"\0"))
    for _ in range(choices.number(1) % 16):
        _write_part(memory, choices)
    try:
        _serve(queue, memory, choices)
    except GuestError:
        return


def _serve(queue: SplitQueue, memory: AddressSpace, choices: Choices) -> None:
    held: list[Chain] = []
    for step in range(_STEPS):
        if choices.left:
            _write_part(memory, choices)
        chain = queue.pop()
        if chain is not None:
            held.append(chain)
            if len(held) > queue.size:
                raise Defect(f"{len(held)} chains of a queue of {queue.size} are held")
            chain.readable.slice(0, min(chain.readable.nbytes, _COPIED)).tobytes()
            answer = bytes([step]) * min(chain.capacity, _COPIED)
            chain.written = chain.writable.write(answer)
        if held and (chain is None or step % 2):
            queue.push(held.pop(0))
            queue.publish()
        if chain is None:
            queue.enable_notifications()
            if not choices.left and not held:
                return
        else:
            queue.suppress_notifications()


def _write_part(memory: AddressSpace, choices: Choices) -> None:
    at = choices.below(_RAM_SIZE)
    memory.write(_BASE + at, choices.take(choices.number(1))[: _RAM_SIZE - at])


@functools.cache
def _memory() -> AddressSpace:
    memory = AddressSpace()
    memory.add_ram(_BASE, GuestRam(_RAM_SIZE))
    return memory


def _part(at: int, data: bytes) -> bytes:
    return struct.pack(">HB", at, len(data)) + data


def seeds() -> Sequence[bytes]:
    """A chain of two, an indirect one, and one that bites its tail."""
    areas = struct.pack(">HHH", 0, 0x1000, 0x2000)
    ring = _part(0x1004, struct.pack("<HH", 0, 1))
    two = struct.pack("<QIHH", _BASE + 0x3200, 16, 1, 1) + struct.pack("<QIHH", _BASE + 0x3100, 64, 2, 0)
    indirect = struct.pack("<QIHH", _BASE + 0x3000, 32, 4, 0)
    loop = struct.pack("<QIHH", _BASE + 0x3000, 16, 1, 0)
    return [
        bytes([kind]) + areas + b"\0\2\3" + ring + _part(0, table) + _part(0x3000, two)
        for kind in (0x03, 0x43, 0xC3)
        for table in (two, indirect, loop)
    ]
