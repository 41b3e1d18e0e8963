# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of a machine's objects as QEMU's object model (QOM) shows it."""
