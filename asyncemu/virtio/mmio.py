# SPDX-License-Identifier: GPL-2.0-or-later
"""VirtioMmio: the MMIO transport, version 2 (virtio 1.2, 4.2).

The bus face: selectors, features, queue addresses, status and interrupt status are plain state under a lock, answered
on the vCPU's thread at once. What has consequences is posted home in order: DRIVER_OK, reset, queues that come or go
later, configuration writes. A doorbell is a bottom half of its queue. Reads of status, QueueReady and the configuration
space pass a fence first.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import threading
from typing import Any, Final

from asyncemu import author_errors
from asyncemu.errors import GuestError
from asyncemu.loop import AioContext, any_thread, home, vcpu_thread
from asyncemu.vcpu.irq import IrqLine
from asyncemu.virtio.defs import F_EVENT_IDX, F_INDIRECT_DESC, F_VERSION_1, ISR_CONFIG, ISR_QUEUE, Status
from asyncemu.virtio.device import VirtioDevice
from asyncemu.virtio.mmio_registers import CONFIG, MAGIC_VALUE, SIZE, VENDOR, VERSION_2, QueueRegisters, Register
from asyncemu.virtio.split_queue import SplitQueue

_LOW_WORD: Final = 0xFFFFFFFF


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

    @any_thread
    def plug(self, device: VirtioDevice[Any]) -> None:
        """Put ``device`` into the slot, whose home is the device's from then on; there, before the machine runs."""
        self.device = device
        self.context = device.context
        self._posted = device.posted_queue(device.failed)
        device.connect(self)
        self._config = bytes(device.config)
        self._reset_registers()

    @any_thread
    def unplug(self) -> None:
        """Take the device, which is unrealized, out; before the machine runs."""
        if self.device is not None:
            self._posted.close()
        self.device = None
        self._config = b""
        self._reset_registers()

    @home
    async def reset(self) -> None:
        """The machine's reset, while no vCPU runs."""
        if self.device is not None:
            # What was posted before belongs to the life that ends here.
            await self.device.wait_posted(self._posted)
            try:
                await self.device.reset()
            except Exception as error:
                author_errors.report_or_raise(f"{self.device.id}: reset", error)
        with self._lock:
            self._reset_registers()
            self.irq.set(False)

    @any_thread
    async def move(self, context: AioContext) -> None:
        """Give the slot's device another home; returns when it lives there. Nothing that the guest does is lost or
        changes its order: posted writes wait, and the rings keep what has not been popped. AsyncemuError: it stays.
        """
        device = self.device
        if device is None or device.context is context:
            return
        outcome: concurrent.futures.Future[None] = concurrent.futures.Future()

        async def move() -> None:
            try:
                await device.move(context, self._posted)
            except BaseException as error:
                outcome.set_exception(error)
            else:
                self.context = context
                outcome.set_result(None)

        self._posted.post(move)
        await asyncio.wrap_future(outcome)

    @home
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
            if self._status:
                self._status |= Status.NEEDS_RESET
        self._interrupt(ISR_CONFIG)

    @any_thread
    def set_config(self, config: bytes) -> None:
        """See device.Transport."""
        with self._lock:
            self._config = config
            self._generation = (self._generation + 1) & _LOW_WORD

    def _interrupt(self, cause: int) -> None:
        with self._lock:
            # 3.1.1: none before DRIVER_OK. A request that ends while the driver resets us has nobody to tell.
            if self._status & Status.DRIVER_OK:
                self._interrupt_status |= cause
                self.irq.set(True)

    # ---- the bus face

    @vcpu_thread
    def mmio_read(self, offset: int, size: int) -> int:
        """4.2.2.2: registers are 32 bits wide; the configuration space takes any width."""
        if offset >= CONFIG:
            return self._read_config(offset - CONFIG, size)
        if size != 4:
            return 0
        match offset:
            case Register.INTERRUPT_STATUS:
                return self._interrupt_status
            case Register.MAGIC:
                return MAGIC_VALUE
            case Register.VERSION:
                return VERSION_2
            case Register.VENDOR_ID:
                return VENDOR
        device = self.device
        if device is None:
            return 0
        try:
            return self._read_register(device, offset)
        except Exception as error:
            # Its ``features`` are an author's code.
            device.failed(error)
            return 0

    def _read_register(self, device: VirtioDevice[Any], offset: int) -> int:
        match offset:
            case Register.DEVICE_ID:
                return device.device_id
            case Register.DEVICE_FEATURES:
                return device.offered_features >> 32 * self._features_select & _LOW_WORD
            case Register.QUEUE_SIZE_MAX:
                selected = self._queue_select
                return device.queues[selected].max_size if selected < len(device.queues) else 0
            case Register.QUEUE_READY:
                self._posted.fence()
                queue = self._selected()
                return int(queue is not None and queue.ready)
            case Register.STATUS:
                self._posted.fence()
                return int(self._status)
            case Register.CONFIG_GENERATION:
                self._posted.fence()
                return self._generation
            case Register.SHM_LENGTH_LOW | Register.SHM_LENGTH_HIGH | Register.SHM_BASE_LOW | Register.SHM_BASE_HIGH:
                # 4.2.2: a shared memory region that does not exist has all ones for its length and base.
                return _LOW_WORD
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
        if offset == Register.QUEUE_NOTIFY:
            if self._status & Status.DRIVER_OK and value < len(device.queues):
                device.queues[value].notify()
            return
        self._posted.make_room()
        if offset >= CONFIG:
            self._write_config(device, offset - CONFIG, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))
        elif size == 4:
            try:
                with self._lock:
                    self._write_register(device, offset, value & _LOW_WORD)
            except Exception as error:
                device.failed(error)

    def _write_config(self, device: VirtioDevice[Any], offset: int, data: bytes) -> None:
        if offset + len(data) <= len(self._config):
            self._posted.post(lambda: device.write_config(offset, data))

    def _write_register(self, device: VirtioDevice[Any], offset: int, value: int) -> None:
        match offset:
            case Register.DEVICE_FEATURES_SELECT:
                self._features_select = min(value, 2)  # 2 for all above: shifting by more would be dear
            case Register.DRIVER_FEATURES:
                self._write_driver_features(value)
            case Register.DRIVER_FEATURES_SELECT:
                self._driver_features_select = value
            case Register.QUEUE_SELECT:
                self._queue_select = value
            case Register.INTERRUPT_ACK:
                self._interrupt_status &= ~value
                self.irq.set(self._interrupt_status != 0)
            case Register.STATUS:
                self._write_status(device, value)
            case _:
                self._write_queue_register(device, offset, value)

    def _write_driver_features(self, value: int) -> None:
        # 3.1.1: features are fixed once FEATURES_OK is set.
        if self._status & Status.FEATURES_OK or self._driver_features_select > 1:
            return
        shift = 32 * self._driver_features_select
        self._driver_features = self._driver_features & ~(_LOW_WORD << shift) | value << shift

    def _write_queue_register(self, device: VirtioDevice[Any], offset: int, value: int) -> None:
        queue = self._selected()
        if queue is None:
            return
        if offset == Register.QUEUE_READY:
            self._write_queue_ready(device, queue, bool(value & 1))
        elif not queue.ready:
            # 4.2.2.2: the driver must not change a queue that is ready.
            queue.write(offset, value)

    def _write_queue_ready(self, device: VirtioDevice[Any], queue: QueueRegisters, ready: bool) -> None:
        changes = ready != queue.ready
        queue.ready = ready
        if not changes or not self._status & Status.DRIVER_OK:
            return
        index = self._queue_select
        if ready:
            features, registers = self._driver_features, dataclasses.replace(queue)
            self._posted.post(lambda: self._start_queue_at_home(device, index, features, registers))
        else:
            self._posted.post(lambda: device.stop_queue(index))

    def _write_status(self, device: VirtioDevice[Any], value: int) -> None:
        if value == 0:
            self._reset_registers()
            self.irq.set(False)
            self._posted.post(lambda: self._reset_at_home(device))
            return
        before = self._status
        # 2.1.1: the driver must not clear bits; NEEDS_RESET is ours.
        status = before | value & ~int(Status.NEEDS_RESET) & 0xFF
        if status & ~before & Status.FEATURES_OK:
            acceptable = not self._driver_features & ~device.offered_features
            if not acceptable or not self._driver_features & F_VERSION_1:
                # 3.1.1, step 6: the driver reads status again to see whether we agree.
                status &= ~Status.FEATURES_OK
        if status & ~before & Status.DRIVER_OK:
            if status & Status.FEATURES_OK:
                features = self._driver_features
                queues = {index: dataclasses.replace(each) for index, each in enumerate(self._queues) if each.ready}
                self._posted.post(lambda: self._activate_at_home(device, features, queues))
            else:
                status &= ~Status.DRIVER_OK
        self._status = int(status)

    def _selected(self) -> QueueRegisters | None:
        return self._queues[self._queue_select] if self._queue_select < len(self._queues) else None

    # ---- at home

    def _activate_at_home(self, device: VirtioDevice[Any], features: int, registers: dict[int, QueueRegisters]) -> None:
        queues = {index: self._make_queue(device, index, features, each) for index, each in registers.items()}
        device.activate(features, queues)

    def _start_queue_at_home(
        self, device: VirtioDevice[Any], index: int, features: int, registers: QueueRegisters
    ) -> None:
        device.start_queue(index, self._make_queue(device, index, features, registers))

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

    async def _reset_at_home(self, device: VirtioDevice[Any]) -> None:
        await device.reset()
        with self._lock:
            # What failed is whole again. A driver that goes on without waiting may have written status meanwhile.
            self._status &= ~int(Status.NEEDS_RESET)
