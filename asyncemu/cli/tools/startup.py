# SPDX-License-Identifier: GPL-2.0-or-later
"""The process of a tool: from the shell's call to its exit status.

Most of a tool's time is Python's own start. What is saved here: garbage is not collected while modules are imported
(none of what they make is garbage), modules that asyncio imports wait until they are used, and the process ends without
Python's finalization, which only gives memory back that the kernel takes at once.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn


def run_script(main: Callable[[list[str]], int]) -> NoReturn:
    """Run ``main(argv)`` as this process's only business, and exit."""
    prepare_process()
    status = main(sys.argv)
    sys.stdout.flush()
    try:
        sys.stderr.flush()
    except OSError:
        pass  # nobody is there to read it
    os._exit(status)


def prepare_process() -> None:
    """Before anything else is imported."""
    gc.disable()
    from asyncemu.cli.tools.late_modules import put_off

    put_off()
    from asyncemu.cli.standard_streams import open_standard_descriptors

    open_standard_descriptors()
    from asyncemu.cli.tools.output import open_stdout

    open_stdout()
    # SIGINT ends the process as it ends QEMU's tools: at once, and by the signal, so that a shell script ends, too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def imported() -> None:
    """What a tool needs has been imported: collect garbage again, but never look at what there is now."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def ready_output() -> None:
    """Names of files may be any bytes, and are printed as they are."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="surrogateescape")
