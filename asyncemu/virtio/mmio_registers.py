# SPDX-License-Identifier: GPL-2.0-or-later
"""The register map of the MMIO transport (virtio 1.2, 4.2.2), for the device's side and the driver's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


class Register:
    """Offsets in bytes: 4.2.2, MMIO device register layout. Plain ints, for they are matched at each access."""

    MAGIC: Final = 0x000
    VERSION: Final = 0x004
    DEVICE_ID: Final = 0x008
    VENDOR_ID: Final = 0x00C
    DEVICE_FEATURES: Final = 0x010
    DEVICE_FEATURES_SELECT: Final = 0x014
    DRIVER_FEATURES: Final = 0x020
    DRIVER_FEATURES_SELECT: Final = 0x024
    QUEUE_SELECT: Final = 0x030
    QUEUE_SIZE_MAX: Final = 0x034
    QUEUE_SIZE: Final = 0x038
    QUEUE_READY: Final = 0x044
    QUEUE_NOTIFY: Final = 0x050
    INTERRUPT_STATUS: Final = 0x060
    INTERRUPT_ACK: Final = 0x064
    STATUS: Final = 0x070
    QUEUE_DESC_LOW: Final = 0x080
    QUEUE_DESC_HIGH: Final = 0x084
    QUEUE_DRIVER_LOW: Final = 0x090
    QUEUE_DRIVER_HIGH: Final = 0x094
    QUEUE_DEVICE_LOW: Final = 0x0A0
    QUEUE_DEVICE_HIGH: Final = 0x0A4
    SHM_SELECT: Final = 0x0AC
    SHM_LENGTH_LOW: Final = 0x0B0
    SHM_LENGTH_HIGH: Final = 0x0B4
    SHM_BASE_LOW: Final = 0x0B8
    SHM_BASE_HIGH: Final = 0x0BC
    CONFIG_GENERATION: Final = 0x0FC


#: Where the configuration space begins.
CONFIG: Final = 0x100

#: Length of a slot's region in bytes: QEMU's virt board gives each a page, of which this much is decoded.
SIZE: Final = 0x200

#: "virt", the version that 4.2.2 describes, and "ASYN" for a vendor nobody else is.
MAGIC_VALUE: Final = 0x74726976
VERSION_2: Final = 2
VENDOR: Final = 0x4E595341

_LOW_WORD: Final = 0xFFFFFFFF


@dataclass(slots=True)
class QueueRegisters:
    """What the driver has written about one queue: entries, and the physical addresses of the three areas."""

    size: int
    ready: bool = False
    descriptors: int = 0
    driver: int = 0
    device: int = 0

    def write(self, offset: int, value: int) -> None:
        """One of the registers above took the 32-bit ``value``; others are ignored."""
        match offset:
            case Register.QUEUE_SIZE:
                self.size = value
            case Register.QUEUE_DESC_LOW:
                self.descriptors = self.descriptors & ~_LOW_WORD | value
            case Register.QUEUE_DESC_HIGH:
                self.descriptors = self.descriptors & _LOW_WORD | value << 32
            case Register.QUEUE_DRIVER_LOW:
                self.driver = self.driver & ~_LOW_WORD | value
            case Register.QUEUE_DRIVER_HIGH:
                self.driver = self.driver & _LOW_WORD | value << 32
            case Register.QUEUE_DEVICE_LOW:
                self.device = self.device & ~_LOW_WORD | value
            case Register.QUEUE_DEVICE_HIGH:
                self.device = self.device & _LOW_WORD | value << 32
