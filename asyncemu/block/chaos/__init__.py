# SPDX-License-Identifier: GPL-2.0-or-later
"""chaos: a disk that fails, stalls, tears and forgets, as a seed decides. Ours; QEMU has none.

faults.py          what happens to a request
sectors.py         which sectors of a write survive
volatile_cache.py  what was written and not flushed
driver.py          the filter
"""

from asyncemu.block.chaos.driver import ChaosDriver, ChaosOptions

__all__ = ["ChaosDriver", "ChaosOptions"]
