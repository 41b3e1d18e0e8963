# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio devices (virtio 1.2): queues, the author's base class, transports, and the devices themselves."""

from asyncemu.virtio.chain import Chain
from asyncemu.virtio.device import VirtioDevice
from asyncemu.virtio.queue_declaration import buffer_queue, virtqueue
from asyncemu.virtio.runner import BufferQueue

__all__ = ["BufferQueue", "Chain", "VirtioDevice", "buffer_queue", "virtqueue"]
