# SPDX-License-Identifier: GPL-2.0-or-later
"""OpenMode: what whoever opens a chain of images wants of it, beside the options of its nodes."""

from __future__ import annotations

from typing import NamedTuple


class OpenMode(NamedTuple):
    """QEMU: BDRV_O_NO_BACKING, BDRV_O_NO_IO, BDRV_O_CHECK. Hold for all nodes that are opened on the way."""

    #: Open the backing file that an image names.
    open_backing: bool = True
    #: Only metadata are wanted: an encrypted image opens without its key.
    no_io: bool = False
    #: Damage is looked for: what would make an open fail is left to the check.
    check: bool = False
    #: File names come from an image: they are not relative to the configuration.
    named_by_image: bool = False
    #: Identities (filenames.py) of the images whose backing file this is, the one on top first.
    overlays: tuple[object, ...] = ()
