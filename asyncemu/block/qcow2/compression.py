# SPDX-License-Identifier: GPL-2.0-or-later
"""Compressed clusters: raw deflate with a window of 4 KiB, or zstd. Pure functions, for worker threads.

qcow2.txt, "Compressed Clusters Descriptor" and compression_type. Both libraries let go of the GIL.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from asyncemu.block.qcow2.constants import ZLIB
from asyncemu.errors import ConfigError

