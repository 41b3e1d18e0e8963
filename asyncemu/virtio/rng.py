# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-rng: random numbers (virtio 1.2, 5.4)."""

from __future__ import annotations

import os
from typing import Final

from asyncemu.errors import GuestError
from asyncemu.options import Options
from asyncemu.virtio.chain import Chain
from asyncemu.virtio.device import VirtioDevice
from asyncemu.virtio.queue_declaration import virtqueue

#: Bytes answered at once, whatever the guest asks for: about 100 µs of the host's generator, so that a greedy guest
#: does not hold up the loop. 5.4.6.1 allows fewer than asked for, but not none.
MAX_BYTES: Final = 64 * 1024


class VirtioRng(VirtioDevice[Options], name="virtio-rng", device_id=4):
    """Random numbers from the host's kernel (getrandom)."""

    description = "Random numbers from the host's kernel."

    @virtqueue(size=64)
    async def requestq(self, request: Chain) -> None:
        """One buffer to fill."""
        if not request.capacity:
            raise GuestError("a request with no room for an answer")
        request.written = request.writable.write(os.urandom(min(request.capacity, MAX_BYTES)))
