# SPDX-License-Identifier: GPL-2.0-or-later
"""VirtioMmio: the MMIO transport, version 2 (virtio 1.2, 4.2).

The bus face: selectors, features, queue addresses, status and interrupt status are plain state under a lock, answered on
the vCPU's thread at once. What has consequences is posted home in order: DRIVER_OK, reset, configuration writes. A
doorbell is a bottom half of its queue. Reads of status, QueueReady and the configuration space pass a fence first.
"""

from __future__ import annotations

import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from asyncemu.errors import GuestError
from asyncemu.loop import AioContext, any_thread, home, vcpu_thread
from asyncemu.vcpu.irq import IrqLine
from asyncemu.virtio.defs import F_EVENT_IDX, F_INDIRECT_DESC, F_VERSION_1, ISR_CONFIG, ISR_QUEUE, Status
from asyncemu.virtio.device import VirtioDevice
from asyncemu.virtio.split_queue import SplitQueue

# Registers: 4.2.2, table 4.1.
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
SHM_BASE_HIGH: Final = 0x0BC
CONFIG_GENERATION: Final = 0x0FC
CONFIG: Final = 0x100

#: Length of a slot's region in bytes: QEMU's virt board gives each a page, of which this much is decoded.
SIZE: Final = 0x200

#: "virt", and "ASYN" for a vendor nobody else is.
_MAGIC_VALUE: Final = 0x74726976
_VENDOR: Final = 0x4E595341


@dataclass(slots=True)
class QueueRegisters:
    """What the driver has written about one queue."""

    size: int
    ready: bool = False
    descriptors: int = 0
    driver: int = 0
    device: int = 0


class VirtioMmio:
    """One slot. Without a device it reads as an empty slot: device id 0 (4.2.3.1.1)."""

    size = SIZE

    def __init__(self, irq: IrqLine, context: AioContext) -> None:
        self.irq = irq
        #: The device's home, and the board's until there is a device.
        self.context = context
        self.device: VirtioDevice[Any] | None = None
        self._lock = threading.Lock()
        self._config = b""
        self._generation = 0
        self._reset_registers()

    def _reset_registers(self) -> None:
        self._features_select = 0
        self._driver_features_select = 0
        self._driver_features = 0
        self._queue_select = 0
        self._status = 0
        self._interrupt_status = 0
        runners = self.device.queues if self.device is not None else []
        self._queues = [QueueRegisters(runner.max_size) for runner in runners]

    @home
    def plug(self, device: VirtioDevice[Any]) -> None:
        """Put ``device`` into the slot; before the machine runs."""
        self.device = device
        self.context = device.context
        self._posted = device.posted_queue(device.failed)
        device.connect(self)
        self._config = bytes(device.config)
        self._reset_registers()

    async def reset(self) -> None:
        """The machine's reset."""
        if self.device is not None:
            await self.device.reset()
        with self._lock:
            self._reset_registers()
            self.irq.set(False)

    async def close(self) -> None:
        """Let waiting vCPUs go; nothing posted is done any more."""
        if self.device is not None:
            self._posted.close()

    # ---- Transport, for the device

    @any_thread
    def interrupt_queue(self, index: int) -> None:
        """See device.Transport."""
        self._interrupt(ISR_QUEUE)

    @any_thread
    def interrupt_config(self) -> None:
        """See device.Transport."""
        self._interrupt(ISR_CONFIG)

    @any_thread
    def needs_reset(self) -> None:
        """See device.Transport."""
        with self._lock:
            if not self._status:
                return
            self._status |= Status.NEEDS_RESET
            ready = self._status & Status.DRIVER_OK
        if ready:
            self._interrupt(ISR_CONFIG)

    @any_thread
    def set_config(self, config: bytes) -> None:
        """See device.Transport."""
        with self._lock:
            self._config = config
            self._generation = (self._generation + 1) & 0xFFFFFFFF

    def _interrupt(self, cause: int) -> None:
        with self._lock:
            self._interrupt_status |= cause
            self.irq.set(True)

    # ---- the bus face

    @vcpu_thread
    def mmio_read(self, offset: int, size: int) -> int:
        """4.2.2.2: registers are 32 bits wide; the configuration space takes any width."""
        if offset >= CONFIG:
            return self._read_config(offset - CONFIG, size)
        if offset == INTERRUPT_STATUS:
            return self._interrupt_status
        if size != 4:
            return 0
        if offset == MAGIC:
            return _MAGIC_VALUE
        if offset == VERSION:
            return 2
        if offset == VENDOR_ID:
            return _VENDOR
        if self.device is None:
            return 0
        return self._read_register(self.device, offset)

    def _read_register(self, device: VirtioDevice[Any], offset: int) -> int:
        match offset:
            case 0x008:  # DEVICE_ID
                return device.device_id
            case 0x010:  # DEVICE_FEATURES
                if self._features_select > 1:
                    return 0
                return device.offered_features >> 32 * self._features_select & 0xFFFFFFFF
            case 0x034:  # QUEUE_SIZE_MAX
                selected = self._selected_index()
                return device.queues[selected].max_size if selected is not None else 0
            case 0x044:  # QUEUE_READY
                self._posted.fence()
                queue = self._selected()
                return int(queue.ready) if queue is not None else 0
            case 0x070:  # STATUS
                self._posted.fence()
                return int(self._status)
            case 0x0FC:  # CONFIG_GENERATION
                self._posted.fence()
                return self._generation
        if SHM_LENGTH_LOW <= offset <= SHM_BASE_HIGH:
            # 4.2.2: a shared memory region that does not exist has all ones for its length.
            return 0xFFFFFFFF
        return 0

    def _read_config(self, offset: int, size: int) -> int:
        if self.device is None:
            return 0
        self._posted.fence()
        # Past the end there is nothing, and nothing reads as zero.
        return int.from_bytes(self._config[offset : offset + size], "little")

    @vcpu_thread
    def mmio_write(self, offset: int, size: int, value: int) -> None:
        """What is read-only, or not there, ignores writes."""
        device = self.device
        if device is None:
            return
        if offset == QUEUE_NOTIFY:
            if self._status & Status.DRIVER_OK and value < len(device.queues):
                device.queues[value].notify()
        elif offset >= CONFIG:
            data = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
            self._posted.post(lambda: device.write_config(offset - CONFIG, data))
        elif size == 4:
            with self._lock:
                self._write_register(device, offset, value)

    def _write_register(self, device: VirtioDevice[Any], offset: int, value: int) -> None:
        match offset:
            case 0x014:  # DEVICE_FEATURES_SELECT
                self._features_select = value
            case 0x020:  # DRIVER_FEATURES
                self._write_driver_features(value)
            case 0x024:  # DRIVER_FEATURES_SELECT
                self._driver_features_select = value
            case 0x030:  # QUEUE_SELECT
                self._queue_select = value
            case 0x064:  # INTERRUPT_ACK
                self._interrupt_status &= ~value
                self.irq.set(self._interrupt_status != 0)
            case 0x070:  # STATUS
                self._write_status(device, value)
            case _:
                self._write_queue_register(offset, value)

    def _write_driver_features(self, value: int) -> None:
        # 3.1.1: features are fixed once FEATURES_OK is set.
        if self._status & Status.FEATURES_OK or self._driver_features_select > 1:
            return
        shift = 32 * self._driver_features_select
        self._driver_features = self._driver_features & ~(0xFFFFFFFF << shift) | value << shift

    def _write_queue_register(self, offset: int, value: int) -> None:
        queue = self._selected()
        if queue is None:
            return
        if offset == QUEUE_READY:
            queue.ready = bool(value & 1)
            return
        if queue.ready:
            # 4.2.2.2: the driver must not change a queue that is ready.
            return
        match offset:
            case 0x038:  # QUEUE_SIZE
                queue.size = value
            case 0x080:
                queue.descriptors = queue.descriptors & ~0xFFFFFFFF | value
            case 0x084:
                queue.descriptors = queue.descriptors & 0xFFFFFFFF | value << 32
            case 0x090:
                queue.driver = queue.driver & ~0xFFFFFFFF | value
            case 0x094:
                queue.driver = queue.driver & 0xFFFFFFFF | value << 32
            case 0x0A0:
                queue.device = queue.device & ~0xFFFFFFFF | value
            case 0x0A4:
                queue.device = queue.device & 0xFFFFFFFF | value << 32

    def _write_status(self, device: VirtioDevice[Any], value: int) -> None:
        if value == 0:
            self._reset_registers()
            self.irq.set(False)
            self._posted.post(lambda: self._reset_at_home(device))
            return
        before = self._status
        # 2.1.2: the driver must not clear bits, and NEEDS_RESET is ours.
        status = before | value & ~Status.NEEDS_RESET & 0xFF
        if status & ~before & Status.FEATURES_OK:
            acceptable = not self._driver_features & ~device.offered_features
            if not acceptable or not self._driver_features & F_VERSION_1:
                # 3.1.1, step 6: the driver reads status again to see whether we agree.
                status &= ~Status.FEATURES_OK
        if status & ~before & Status.DRIVER_OK:
            if status & Status.FEATURES_OK:
                features = self._driver_features
                queues = {index: queue for index, queue in enumerate(self._queues) if queue.ready}
                self._posted.post(lambda: self._activate_at_home(device, features, queues))
            else:
                status &= ~Status.DRIVER_OK
        self._status = status

    # ---- at home

    def _activate_at_home(self, device: VirtioDevice[Any], features: int, registers: dict[int, QueueRegisters]) -> None:
        try:
            queues = {index: self._make_queue(device, index, features, each) for index, each in registers.items()}
        except GuestError as error:
            device.failed(error)
            return
        device.activate(features, queues)

    def _make_queue(
        self, device: VirtioDevice[Any], index: int, features: int, registers: QueueRegisters
    ) -> SplitQueue:
        maximum = device.queues[index].max_size
        if registers.size > maximum:
            raise GuestError(f"queue {index} of size {registers.size}, at most {maximum}")
        return SplitQueue(
            device.memory,
            registers.size,
            registers.descriptors,
            registers.driver,
            registers.device,
            event_index=bool(features & F_EVENT_IDX),
            indirect=bool(features & F_INDIRECT_DESC),
        )

    def _reset_at_home(self, device: VirtioDevice[Any]) -> Coroutine[Any, Any, None]:
        async def reset() -> None:
            await device.reset()
            with self._lock:
                # A request that ended during the reset may have interrupted for the driver's former life.
                if not self._status:
                    self._interrupt_status = 0
                    self.irq.set(False)

        return reset()

    def _selected_index(self) -> int | None:
        return self._queue_select if self._queue_select < len(self._queues) else None

    def _selected(self) -> QueueRegisters | None:
        index = self._selected_index()
        return self._queues[index] if index is not None else None
