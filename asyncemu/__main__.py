# SPDX-License-Identifier: GPL-2.0-or-later
"""python -m asyncemu"""

import atexit
import os
import sys

from asyncemu.cli import main


def run_and_exit() -> None:
    """Run, and end the process without Python's finalization.

    Everything that needs closing has been closed when ``main`` returns. What finalization would still do, giving the
    memory of translations and modules back piece by piece, takes 50 ms; the kernel does it at once.
    """
    status = main()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass  # nobody is there to read it; main has decided the status
    os._exit(status)


if __name__ == "__main__":
    run_and_exit()
