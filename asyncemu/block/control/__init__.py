# SPDX-License-Identifier: GPL-2.0-or-later
"""What a control face (QMP, the human monitor, a program) asks of a block graph, in QEMU's words."""
