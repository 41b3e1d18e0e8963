# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP toward a guest, without I/O: see connection.py for its use, state.py for the states."""

from asyncemu.net.tcp.connection import Emit, TcpConnection
from asyncemu.net.tcp.options import TcpSettings
from asyncemu.net.tcp.segment import Segment, reset_for
from asyncemu.net.tcp.state import Reason, State

__all__ = ["Emit", "Reason", "Segment", "State", "TcpConnection", "TcpSettings", "reset_for"]
