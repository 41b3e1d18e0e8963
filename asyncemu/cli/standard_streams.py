# SPDX-License-Identifier: GPL-2.0-or-later
"""stdin, stdout and stderr are there, whatever the process was started with."""

from __future__ import annotations

import os
import sys


def open_standard_descriptors() -> None:
    """Give a process that was started without stdin, stdout or stderr (``>&-``) /dev/null in their places.

    Otherwise the next file to be opened, the guest's disk say, would get such a number, and every stray message.
    """
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is fd
            os.set_inheritable(fd, True)
            if getattr(sys, name) is None:
                setattr(sys, name, open(fd, mode, closefd=False))  # noqa: SIM115
