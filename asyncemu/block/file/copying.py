# SPDX-License-Identifier: GPL-2.0-or-later
"""copy_file_range(2): the kernel copies, by sharing extents where the file system can. Blocking."""

from __future__ import annotations

import errno
import os
from typing import Final

#: What says that these two files, or these bytes, can't be copied this way: other file systems, overlapping bytes.
_CAN_NOT: Final = (errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)


def copy_file_range(source: int, source_offset: int, target: int, target_offset: int, length: int) -> None:
    """Copy ``length`` bytes from one descriptor to the other. OSError; ENOTSUP: read and write them."""
    try:
        while length:
            done = os.copy_file_range(source, target, length, source_offset, target_offset)
            if not done:
                # The source ends there; a read gives zeroes.
                raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
            source_offset += done
            target_offset += done
            length -= done
    except OSError as error:
        if error.errno in _CAN_NOT:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from error
        raise
