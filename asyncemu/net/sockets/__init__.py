# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames over the host's sockets: what the netdevs ``socket``, ``stream`` and ``dgram`` have in common."""
