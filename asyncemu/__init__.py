# SPDX-License-Identifier: GPL-2.0-or-later
"""asyncemu: a machine emulator whose heart is Python's own event loop."""

__version__ = "0.1.0"
