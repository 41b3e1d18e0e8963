# SPDX-License-Identifier: GPL-2.0-or-later
"""Formats of packets: parsed from bytes, and built. No I/O, no state but for the reassembly of fragments."""
