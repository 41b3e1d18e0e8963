# SPDX-License-Identifier: GPL-2.0-or-later
"""tap: a network device of the host. QEMU: -netdev tap."""

from asyncemu.net.tap.netdev import Tap, TapOptions

__all__ = ["Tap", "TapOptions"]
