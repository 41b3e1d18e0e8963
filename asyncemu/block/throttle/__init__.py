# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits of I/O: so many bytes and requests a second, for one node or for several together.

config.py     what the limits are, and whether they make sense
buckets.py    when a request may pass: leaky buckets that are told the time
group.py      whose request is next, among members in several contexts
member.py     the requests of one member that wait
registry.py   groups by name
driver.py     the filter
"""

from asyncemu.block.throttle.driver import ThrottleDriver, ThrottleOptions

__all__ = ["ThrottleDriver", "ThrottleOptions"]
