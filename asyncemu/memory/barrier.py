# SPDX-License-Identifier: GPL-2.0-or-later
"""The one memory barrier that Python code here needs."""

from __future__ import annotations

import threading
from typing import Final

_lock: Final = threading.Lock()


def full_barrier() -> None:
    """Order all loads and stores before against all after, for memory that a guest CPU reads and writes meanwhile.

    x86-64 reorders only a store with a later load, but that is the pair that notification suppression depends on
    (virtio 1.2, 2.7.10). Taking a lock is an atomic read-modify-write, which is a full barrier there; CPython's own
    lock is one semaphore operation.
    """
    _lock.acquire()
    _lock.release()
