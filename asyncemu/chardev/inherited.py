# SPDX-License-Identifier: GPL-2.0-or-later
"""InheritedDescriptor: a non-blocking way to a descriptor that other processes share, stdin and stdout above all.

O_NONBLOCK belongs to the open file description, and so to everybody who shares it: the shell, the next program of a
pipeline, our own ``print``; and libuv sets it on whatever it watches. So the file is opened anew through /proc/self/fd,
with a description of its own. Where that is refused (a socket: ENXIO; a terminal of another user after su: EACCES) the
flag is set on the shared one, and taken back by ``restore``. What epoll refuses never blocks and is used as it is: a
regular file's offset must stay the shared one.
"""

from __future__ import annotations

import os

from asyncemu.chardev.descriptor import epoll_watches


class InheritedDescriptor:
    """Our own way, ``fd``, to what ``inherited`` refers to."""

    def __init__(self, inherited: int, access: int) -> None:
        """``access``: os.O_RDONLY or os.O_WRONLY. Raises OSError (EBADF) when ``inherited`` is not open."""
        self.fd = os.dup(inherited)
        #: O_NONBLOCK is set on a description that others use, and was not before.
        self.shares_flag = False
        if not epoll_watches(self.fd):
            return
        try:
            own = os.open(f"/proc/self/fd/{inherited}", access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            self.shares_flag = os.get_blocking(self.fd)
            os.set_blocking(self.fd, False)
        else:
            os.close(self.fd)
            self.fd = own

    def set_shared_blocking(self, blocking: bool) -> None:
        """Give others the flag they had (True), or take it again (False); nothing where it is our own anyway."""
        if self.shares_flag and self.fd >= 0:
            os.set_blocking(self.fd, blocking)

    def close(self) -> None:
        """Restore the flag and give the descriptor back. May be called again."""
        self.set_shared_blocking(True)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
