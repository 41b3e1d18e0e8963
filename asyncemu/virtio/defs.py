# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of virtio 1.2 that more than one file needs."""

from __future__ import annotations

import enum
from typing import Final


class Status(enum.IntFlag):
    """Device status bits: 2.1."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    NEEDS_RESET = 64
    FAILED = 128


# Feature bits that belong to no device type: chapter 6.
F_INDIRECT_DESC: Final = 1 << 28
F_EVENT_IDX: Final = 1 << 29
F_VERSION_1: Final = 1 << 32

# Descriptor flags: 2.7.5.
DESC_NEXT: Final = 1
DESC_WRITE: Final = 2
DESC_INDIRECT: Final = 4

# Ring flags: 2.7.6 and 2.7.8.
AVAIL_NO_INTERRUPT: Final = 1
USED_NO_NOTIFY: Final = 1

#: Bytes of one chain at most: 2.7.5.2.
MAX_CHAIN_BYTES: Final = 1 << 32

#: Queue sizes are powers of two up to this: 2.7.
MAX_QUEUE_SIZE: Final = 32768

# Interrupt status bits: 4.2.2, InterruptStatus.
ISR_QUEUE: Final = 1
ISR_CONFIG: Final = 2
