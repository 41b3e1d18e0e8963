# SPDX-License-Identifier: GPL-2.0-or-later
"""What the program's loggers say, as lines on stderr: ``asyncemu: disk: guest error: ...``."""

from __future__ import annotations

import logging


class LineFormatter(logging.Formatter):
    """The message, after the id of the device that it is about: a device's logger is ``asyncemu.MODEL.ID``."""

    def format(self, record: logging.LogRecord) -> str:
        ours, *names = record.name.split(".", 2)
        device = f"{names[1]}: " if ours == "asyncemu" and len(names) == 2 else ""
        return f"asyncemu: {device}{super().format(record)}"


def log_to_stderr() -> None:
    """Warnings of all, and what chardevs tell the user: which pty it is, where a client is waited for."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("asyncemu.chardev").setLevel(logging.INFO)
