# SPDX-License-Identifier: GPL-2.0-or-later
"""rerror and werror."""

from __future__ import annotations

import errno

import pytest

from asyncemu.block.error_policy import ErrorAction, ErrorPolicy, OnError

REPORT, IGNORE, STOP = ErrorAction.REPORT, ErrorAction.IGNORE, ErrorAction.STOP


@pytest.mark.parametrize(
    ("choice", "on_eio", "on_enospc"),
    [
        ("report", REPORT, REPORT),
        ("ignore", IGNORE, IGNORE),
        ("stop", STOP, STOP),
        ("enospc", REPORT, STOP),
    ],
)
@pytest.mark.parametrize("is_read", [False, True])
def test_action_is_the_choice(is_read: bool, choice: OnError, on_eio: ErrorAction, on_enospc: ErrorAction) -> None:
    policy = ErrorPolicy(on_read_error=choice, on_write_error=choice)
    assert (policy.action(is_read, errno.EIO), policy.action(is_read, errno.ENOSPC)) == (on_eio, on_enospc)


def test_action_auto_reports_reads_and_stops_writes_without_space() -> None:
    policy = ErrorPolicy()
    assert [policy.action(is_read, number) for is_read in (True, False) for number in (errno.EIO, errno.ENOSPC)] == [
        REPORT,
        REPORT,
        REPORT,
        STOP,
    ]
