# SPDX-License-Identifier: GPL-2.0-or-later
"""HostPath: an option that names a file of the host, as a Path; see ``host_file`` for what the name means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from asyncemu.host_file import NameOfFile, checked_name

if TYPE_CHECKING:
    from pydantic import ValidationInfo


def relative_to_config(path: Path, info: ValidationInfo) -> Path:
    """For pydantic's validators: ``~`` expanded, and relative to the TOML file."""
    return Path(checked_name(str(path), (info.context or {}).get("directory")))


class PathOfFile(NameOfFile):
    """Says of a Path that it names a file."""

    __slots__ = ()

    def convert(self, value: object, directory: Path | None) -> Path:
        """See NameOfFile."""
        return Path(self.name(value, directory))


#: The path of a file of the host.
HostPath = Annotated[Path, PathOfFile()]
