# SPDX-License-Identifier: GPL-2.0-or-later
"""Complaints: what the block layer logs, as lines on stderr, as QEMU's tools print it."""

from __future__ import annotations

import logging
import os

from asyncemu.cli.tools.report import complain, report, warn


class Complaints(logging.Handler):
    """What the block layer logs: QEMU's lines, which begin with WARNING, as they are; others as the tool's own."""

    def begin(self) -> None:
        """Take what is logged from now on."""
        logger = logging.getLogger("asyncemu.block")
        self._propagated = logger.propagate
        logger.addHandler(self)
        logger.propagate = False

    def end(self) -> None:
        """Take nothing more."""
        logger = logging.getLogger("asyncemu.block")
        logger.removeHandler(self)
        logger.propagate = self._propagated

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.name == "asyncemu.block.blkverify":
            # QEMU's ends the program, too: what came behind would be worth nothing.
            complain(message)
            os._exit(1)
        if message.startswith("WARNING: ") or record.name == "asyncemu.block.qcow2.lines":
            complain(message)
        else:
            (report if record.levelno >= logging.ERROR else warn)(message)
