# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets of this process that listen for somebody who controls the machine: a guest must not be one of them.

Who makes such a socket (qtest, chardevs, NBD) registers it; the user network asks before it connects for a guest
(docs/decisions/0012-hostfwd-loopback.md). Any thread. Imports nothing of ours.
"""

from __future__ import annotations

import socket
import threading
import weakref
from typing import Final

_lock: Final = threading.Lock()
_listeners: Final[weakref.WeakSet[socket.socket]] = weakref.WeakSet()

_WILDCARDS: Final = ("0.0.0.0", "::")


def register(listener: socket.socket) -> None:
    """``listener`` is the emulator's own for as long as it is open. Those that are not of IP are no matter."""
    with _lock:
        _listeners.add(listener)


def is_own(address: str, port: int) -> bool:
    """Does a connection to ``address``, a number, end at one of them?"""
    if not _listeners:
        return False
    with _lock:
        listeners = list(_listeners)
    return any(_ends_there(listener, address, port) for listener in listeners)


def _ends_there(listener: socket.socket, address: str, port: int) -> bool:
    if listener.fileno() < 0 or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    host, own_port = listener.getsockname()[:2]
    if own_port != port:
        return False
    return host == address or (host in _WILDCARDS and _is_local(address))


def _is_local(address: str) -> bool:
    """Is it one of this host's? Only such an address can be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
