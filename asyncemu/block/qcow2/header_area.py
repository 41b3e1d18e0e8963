# SPDX-License-Identifier: GPL-2.0-or-later
"""HeaderArea: the header, its extensions and the backing file's name: the first cluster of an image.

Rewritten as a whole, as QEMU does: what this program does not know (fields of a longer header, extensions) is kept.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from asyncemu.block.qcow2.errors import BadImage
from asyncemu.block.qcow2.extensions import Extensions, as_bytes, extensions_bytes, parse_extensions
from asyncemu.block.qcow2.features import BITMAPS, KNOWN_INCOMPATIBLE, unsupported
from asyncemu.block.qcow2.header import INCOMPATIBLE_OFFSET, Header, header_bytes, longest_backing_name, parse_header

#: Bytes that are read at first: enough for the extensions that QEMU writes.
_FIRST_READ: Final = 4096

#: ``read(offset, length)``: that many bytes, zeroes behind the end of the file.
Read = Callable[[int, int], Coroutine[Any, Any, bytes | bytearray]]


class HeaderArea(NamedTuple):
    """The three parts."""

    header: Header
    extensions: Extensions = Extensions()
    backing_file: str = ""

    def replaced(self, **changes: Any) -> HeaderArea:
        """A copy with other values of these fields of the header."""
        return self._replace(header=self.header._replace(**changes))


async def read_header_area(read: Read) -> HeaderArea:
    """Read and check it. Raises BadImage, and what ``read`` raises."""
    data = bytes(await read(0, _FIRST_READ))
    header = parse_header(data)
    if header.header_length > len(data):
        data = bytes(await read(0, header.cluster_size))
        header = parse_header(data)
    try:
        extensions = parse_extensions(data[: header.cluster_size], header)
        if extensions is None:
            data = bytes(await read(0, header.cluster_size))
            extensions = parse_extensions(data, header) or Extensions()
    except BadImage:
        _check_features(header, Extensions())
        raise
    _check_features(header, extensions)
    backing_file = b""
    if header.backing_file_offset:
        if header.backing_file_size > longest_backing_name(header):
            raise BadImage(16, "Backing file name too long")
        backing_file = bytes(await read(header.backing_file_offset, header.backing_file_size))
    # As a string of C: it ends where a NUL is.
    name = backing_file.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return HeaderArea(header, extensions, name)


def _check_features(header: Header, extensions: Extensions) -> None:
    unknown = header.incompatible_features & ~KNOWN_INCOMPATIBLE
    if unknown:
        names = unsupported(unknown, extensions.feature_names)
        raise BadImage(INCOMPATIBLE_OFFSET, f"Unsupported qcow2 feature(s): {names}", errno.ENOTSUP)


def area_bytes(area: HeaderArea) -> tuple[HeaderArea, bytes]:
    """``area`` with the right offsets and lengths, and the whole cluster. OSError with ENOSPC: it does not fit."""
    header, extensions = area.header, area.extensions
    if extensions.bitmaps is None:
        header = header.replaced(autoclear_features=header.autoclear_features & ~BITMAPS)
    header = header.replaced(header_length=len(header_bytes(header)))
    tail = extensions_bytes(extensions, header)
    name = as_bytes(area.backing_file)
    header = header.replaced(
        backing_file_offset=header.header_length + len(tail) if name else 0, backing_file_size=len(name)
    )
    data = header_bytes(header) + tail + name
    if len(data) > header.cluster_size:
        raise OSError(errno.ENOSPC, "No space left in the file header")
    stored = area._replace(header=header, extensions=extensions._replace(stale_bitmaps=False))
    return stored, data.ljust(header.cluster_size, b"\0")
