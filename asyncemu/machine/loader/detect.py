# SPDX-License-Identifier: GPL-2.0-or-later
"""Which format a kernel or firmware is in, by its magic, and the door to all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from asyncemu.machine.loader import compressed, efi_zboot, elf, foreign, raw, riscv_image
from asyncemu.machine.loader.placement import LoadedImage, Placement
from asyncemu.machine.loader.source import Source, open_source

_CONTAINERS = (compressed, efi_zboot)
_IMAGES = (riscv_image, elf)


def load_kernel(path: Path, *, load_address: int, memory: range, where: str = "machine.kernel") -> LoadedImage:
    """Read a kernel, firmware or bare-metal program for riscv64 and say what of it goes where.

    ``memory`` is guest RAM by physical addresses. ``load_address``, within it, is where a raw binary goes, and the
    lowest place for a Linux Image; an ELF file says itself where it goes. ``where`` is the TOML path for errors.
    The segments' data lie over the mapped file where it is not compressed: copy them before anything may cut it short.

    Raises ConfigError, one line: no such file, unreadable, a directory, empty, truncated, damaged, for another
    architecture, not bootable, or too large for RAM. Blocks on the disk.
    """
    return parse(open_source(path, where), Placement(load_address, memory))


def parse(source: Source, placement: Placement) -> LoadedImage:
    """``load_kernel`` for what has been read already. Raises the same."""
    for container in _CONTAINERS:
        if container.matches(source.data):
            name, inner = container.unpack(source, limit=len(placement.memory))
            return _parse_image(inner, placement, suffix=f" in {name}")
    return _parse_image(source, placement)


def _parse_image(source: Source, placement: Placement, suffix: str = "") -> LoadedImage:
    if any(container.matches(source.data) for container in _CONTAINERS):
        # One level only, so that no file makes us unpack without end.
        raise source.error("is compressed twice", "unpack it first")
    image = next((image for image in _IMAGES if image.matches(source.data)), None)
    if image is None:
        foreign.refuse(source)
        loaded = raw.parse(source, placement)
    else:
        loaded = image.parse(source, placement)
    return replace(loaded, format=loaded.format + suffix)
