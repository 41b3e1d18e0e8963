# SPDX-License-Identifier: GPL-2.0-or-later
"""How images are named and how options are written: on command lines, in backing file fields, in output.

Everything here is text in and tables out, or the other way round; ``asyncemu.block.image_options`` is the way in.
The words of errors are those of qemu-img 7.2, as observed.
"""
