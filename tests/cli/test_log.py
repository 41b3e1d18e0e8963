# SPDX-License-Identifier: GPL-2.0-or-later
"""Log records as lines for the user."""

from __future__ import annotations

import logging

import pytest

from asyncemu.cli.log import LineFormatter


@pytest.mark.parametrize(
    ("logger", "line"),
    [
        ("asyncemu.chardev", "asyncemu: it happened"),
        ("asyncemu.virtio-blk.disk", "asyncemu: disk: it happened"),
        ("asyncemu.virtio-blk.disk.1", "asyncemu: disk.1: it happened"),
        ("asyncio", "asyncemu: it happened"),
        ("a.b.c", "asyncemu: it happened"),
    ],
)
def test_log_line_names_program_and_device(logger: str, line: str) -> None:
    record = logging.LogRecord(logger, logging.WARNING, "", 0, "it %s", ("happened",), None)

    assert LineFormatter().format(record) == line
