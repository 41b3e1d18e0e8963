# SPDX-License-Identifier: GPL-2.0-or-later
"""HostFile: an option that names a file of the host, spelt as the user spelt it.

In a vm.toml ``~`` is expanded, and a relative name is relative to that file. On a command line (no directory) the shell
has expanded what it had to, and the name is taken as it is.
Text and not a Path: images say by which name they were opened, and ``./a.img`` is not to become ``a.img``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

from asyncemu.option_values import Mismatch

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
    from pydantic_core import CoreSchema


def checked_name(name: str, directory: Path | None) -> str:
    """``name`` as the host's kernel takes it, from the current directory on. Raises ValueError."""
    if not name:
        raise ValueError("is empty; give the path of a file")
    if "\0" in name:
        raise ValueError("has a NUL character, which no file's name has")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        # Half of a surrogate pair: JSON can spell it.
        raise ValueError("has a character that no file's name has") from None
    if directory is None:
        return name
    if name.startswith("~"):
        expanded = os.path.expanduser(name)  # noqa: PTH111 (pathlib takes 5 ms to import)
        if expanded.startswith("~"):
            user, _, _ = name.partition("/")
            raise ValueError(f"{user} means no home directory; write it out")
        name = expanded
    start = str(directory)
    return name if start == "." else os.path.join(start, name)  # noqa: PTH118


class NameOfFile:
    """Says of a str that it names a file."""

    __slots__ = ()
    expected = "a path, as text"

    def convert(self, value: object, directory: Path | None) -> object:
        """For PlainOptions."""
        return self.name(value, directory)

    @staticmethod
    def name(value: object, directory: Path | None) -> str:
        """``checked_name`` of text or a Path. Raises Mismatch for the rest."""
        if not isinstance(value, (str, os.PathLike)):
            raise Mismatch(NameOfFile.expected)
        return checked_name(os.fspath(value), directory)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import PydanticCustomError, core_schema

        def validate(value: object, info: ValidationInfo) -> object:
            try:
                return self.convert(value, (info.context or {}).get("directory"))
            except Mismatch:
                raise PydanticCustomError("path_type", "Input is not a valid path") from None

        return core_schema.with_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": "path"}


#: The name of a file of the host.
HostFile = Annotated[str, NameOfFile()]
