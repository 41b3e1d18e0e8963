# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in RAM when a riscv64 machine starts, and where the first hart begins.

RAM + 0          firmware, where the user gives one (else nothing: the SBI is ours)
RAM + 2 MiB      kernel: where OpenSBI and QEMU put it
behind it        initial RAM disk
last 2 MiB       device tree, and at the end what fw_dynamic firmware reads about the next stage
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asyncemu.errors import ConfigError
from asyncemu.machine.loader import LoadedImage, load_blob, load_kernel, place
from asyncemu.machine.options import MachineOptions
from asyncemu.memory import GuestRam

KERNEL_OFFSET: Final = 2 << 20
#: Linux keeps whole 2 MiB pages for itself.
KERNEL_ALIGNMENT: Final = 2 << 20
PAGE: Final = 4096
#: Room for the device tree at the end of RAM, from a 2 MiB boundary on, as Linux maps it early.
DEVICE_TREE_ROOM: Final = 2 << 20
#: OpenSBI's struct fw_dynamic_info, version 2: magic, version, next address, next mode (1 is S), options, boot hart.
_DYNAMIC_INFO: Final = struct.Struct("<6Q")
_DYNAMIC_MAGIC: Final = 0x4942534F

# Argument registers of the first instruction: RISC-V Linux boot protocol.
A0: Final = 10
A1: Final = 11
A2: Final = 12


@dataclass(frozen=True, slots=True)
class Boot:
    """Pieces for RAM and the hart's start. ``pieces`` are (guest physical address, bytes)."""

    pieces: tuple[tuple[int, bytes | memoryview], ...]
    entry: int | None
    arguments: dict[int, int]
    firmware: bool

    def load(self, base: int, ram: GuestRam) -> None:
        """Put everything into RAM that starts at ``base``; what is not covered is left as it is."""
        for address, data in self.pieces:
            ram.load(address - base, data)
            _forget_pages(data)


def prepare(
    options: MachineOptions, base: int, device_tree: Callable[[tuple[int, int] | None], bytes], hart_id: int = 0
) -> Boot:
    """Read the files that ``options`` name and place them in RAM that starts at ``base``.

    ``device_tree`` makes the blob, given (start, end) of the initial RAM disk. Blocks on the disk. Raises ConfigError.
    """
    end = base + options.memory
    memory = range(base, end)
    pieces: list[tuple[int, bytes | memoryview]] = []
    firmware = kernel = None
    top = (end - DEVICE_TREE_ROOM) & ~(DEVICE_TREE_ROOM - 1)
    if top < base + KERNEL_OFFSET:
        raise ConfigError("machine.memory", f"{options.memory} bytes are too few", "give at least 8MiB")
    if options.firmware is not None:
        firmware = load_kernel(options.firmware, load_address=base, memory=memory, where="machine.firmware")
        pieces += _segments(firmware)
    if options.kernel is not None:
        kernel = load_kernel(options.kernel, load_address=base + KERNEL_OFFSET, memory=memory)
        pieces += _segments(kernel)
        if firmware is not None and firmware.end > min(each.address for each in kernel.segments):
            raise ConfigError("machine.firmware", f"reaches to {firmware.end:#x}, where the kernel begins")
    initrd = _place_initrd(options, kernel, base, top, pieces)
    blob = device_tree(initrd)
    if len(blob) > DEVICE_TREE_ROOM // 2:
        raise ConfigError("machine", f"the device tree takes {len(blob)} bytes, at most {DEVICE_TREE_ROOM // 2}")
    pieces.append((top, blob))
    arguments = {A0: hart_id, A1: top}
    if firmware is not None:
        next_stage = kernel.entry if kernel is not None else base + KERNEL_OFFSET
        info = _DYNAMIC_INFO.pack(_DYNAMIC_MAGIC, 2, next_stage, 1, 0, hart_id)
        # At the far end: firmware grows the device tree in place.
        info_address = top + DEVICE_TREE_ROOM - PAGE
        pieces.append((info_address, info))
        arguments[A2] = info_address
    first = firmware or kernel
    return Boot(tuple(pieces), first.entry if first is not None else None, arguments, firmware is not None)


def _forget_pages(data: bytes | memoryview) -> None:
    """A mapped file that has been copied need not stay resident: a kernel has 36 MiB. A reset reads it again."""
    mapping = data.obj if isinstance(data, memoryview) else None
    if isinstance(mapping, mmap.mmap):
        mapping.madvise(mmap.MADV_DONTNEED)


def _segments(image: LoadedImage) -> list[tuple[int, bytes | memoryview]]:
    return [(segment.address, segment.data) for segment in image.segments]


def _place_initrd(
    options: MachineOptions,
    kernel: LoadedImage | None,
    base: int,
    top: int,
    pieces: list[tuple[int, bytes | memoryview]],
) -> tuple[int, int] | None:
    if kernel is not None and kernel.end > top:
        raise ConfigError(
            "machine.memory", f"the kernel reaches to {kernel.end - base} of {options.memory} bytes", "give more memory"
        )
    if options.initrd is None:
        return None
    if kernel is None:
        raise ConfigError("machine.initrd", "there is no kernel to use it", "give machine.kernel")
    data = load_blob(options.initrd, "machine.initrd")
    address = place(kernel.end, len(data), KERNEL_ALIGNMENT, top, "the initial RAM disk")
    pieces.append((address, data))
    return address, address + len(data)
