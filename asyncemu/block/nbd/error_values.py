# SPDX-License-Identifier: GPL-2.0-or-later
"""Error values of replies and what they are here. Spec: proto.md, "Error values"."""

from __future__ import annotations

import errno
from typing import Final

EPERM: Final = 1
EIO: Final = 5
ENOMEM: Final = 12
EINVAL: Final = 22
ENOSPC: Final = 28
EOVERFLOW: Final = 75
ENOTSUP: Final = 95
ESHUTDOWN: Final = 108

#: The allowed values, which are not the numbers of every host.
_FROM_ERRNO: Final = {
    errno.EPERM: EPERM,
    errno.EROFS: EPERM,
    errno.EIO: EIO,
    errno.ENOMEM: ENOMEM,
    errno.EDQUOT: ENOSPC,
    errno.EFBIG: ENOSPC,
    errno.ENOSPC: ENOSPC,
    errno.EOVERFLOW: EOVERFLOW,
    errno.ENOTSUP: ENOTSUP,
    errno.ESHUTDOWN: ESHUTDOWN,
}

_TO_ERRNO: Final = {
    EPERM: errno.EPERM,
    EIO: errno.EIO,
    ENOMEM: errno.ENOMEM,
    ENOSPC: errno.ENOSPC,
    EOVERFLOW: errno.EOVERFLOW,
    ENOTSUP: errno.ENOTSUP,
    ESHUTDOWN: errno.ESHUTDOWN,
}


def error_value(number: int) -> int:
    """What a reply says for an errno of this host; EINVAL for those that the spec has no value for."""
    return _FROM_ERRNO.get(number, EINVAL)


def errno_of(value: int) -> int:
    """The errno for a reply's error value that is not 0: an unexpected one counts as EINVAL (the spec's advice)."""
    return _TO_ERRNO.get(value, errno.EINVAL)
