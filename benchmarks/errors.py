# SPDX-License-Identifier: GPL-2.0-or-later
"""What stops a benchmark before it has a result."""

from __future__ import annotations


class BenchmarkError(Exception):
    """Something is missing, or a run failed: one line that says what. Exit status 2.

    For example: "qemu-system-riscv64 was not found: install Debian's package qemu-system-misc".
    """
