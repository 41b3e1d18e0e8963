# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot loaders: a file named by the user becomes pieces of guest RAM and an entry point.

One file a format, each with the same two functions: ``matches(data)`` looks at the magic, and either ``parse(source,
placement)`` makes a LoadedImage of it or, for a format that wraps another, ``unpack(source, limit)`` takes it out.

    detect         which format; load_kernel, the door to all of them
    riscv_image    Linux's Image            elf            ELF executables
    compressed     gzip, zstd               efi_zboot      Linux's self-decompressing EFI application
    raw            anything else            foreign        what is known and can't be booted here
    source         files and their errors   placement      where things go in guest RAM

Files are the user's, not to be trusted to be whole: every way in which one can be bad is a ConfigError of one line that
names the file and, where there is one, the offset. Nothing is allocated by what a header says before it is checked.
All of it blocks on the disk: call it before the loops run, or on a worker.
"""

from __future__ import annotations

from asyncemu.machine.loader.detect import load_kernel
from asyncemu.machine.loader.placement import LoadedImage, Placement, Segment, place
from asyncemu.machine.loader.source import load_blob

__all__ = ["LoadedImage", "Placement", "Segment", "load_blob", "load_kernel", "place"]
