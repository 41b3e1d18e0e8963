# SPDX-License-Identifier: GPL-2.0-or-later
"""The control face of a machine: QMP and the human monitor, with QEMU's commands, names and errors."""
