# SPDX-License-Identifier: GPL-2.0-or-later
"""vCPUs by dynamic translation: Unicorn, which is QEMU's TCG as a library."""
