# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a packet. Guests and peers send anything: whoever parses drops such a packet, and counts it."""

from __future__ import annotations


class Malformed(ValueError):
    """A packet that its specification does not allow; the argument says why, in a few words."""
