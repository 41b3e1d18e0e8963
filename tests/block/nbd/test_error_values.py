# SPDX-License-Identifier: GPL-2.0-or-later
"""Error values and errnos."""

from __future__ import annotations

import errno

import pytest

from asyncemu.block.nbd.error_values import errno_of, error_value


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (errno.EPERM, 1),
        (errno.EROFS, 1),
        (errno.EIO, 5),
        (errno.ENOMEM, 12),
        (errno.EINVAL, 22),
        (errno.ENOSPC, 28),
        (errno.EDQUOT, 28),
        (errno.EFBIG, 28),
        (errno.EOVERFLOW, 75),
        (errno.ENOTSUP, 95),
        (errno.ESHUTDOWN, 108),
        (errno.ENOENT, 22),
    ],
)
def test_error_value_of_errno(number: int, value: int) -> None:
    assert error_value(number) == value


@pytest.mark.parametrize("number", [errno.EPERM, errno.EIO, errno.ENOSPC, errno.ENOTSUP, errno.ESHUTDOWN])
def test_errno_of_value_is_the_way_back(number: int) -> None:
    assert errno_of(error_value(number)) == number


def test_errno_of_unexpected_value_is_einval() -> None:
    assert errno_of(12345) == errno.EINVAL
