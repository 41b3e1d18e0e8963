# SPDX-License-Identifier: GPL-2.0-or-later
"""Secrets that users give by name: passwords of images, of servers. QEMU: objects of type ``secret``.

Importable from everywhere; the tools load it, too.
"""

from __future__ import annotations

import os
from typing import Final

from asyncemu.errors import ConfigError

#: Bytes of a secret that is read from a file.
_LONGEST: Final = 1 << 20


def read_secret(
    data: str | None,
    file: str | os.PathLike[str] | None,
    format: str = "raw",
    where: str = "secret",
    *,
    key: bytes | None = None,
    iv: str = "",
) -> bytes:
    """What a secret holds: ``data``, or what is in ``file``, which is read to its end; blocks.

    ``format``: raw, or base64. ``key``: what the secret holds that it is encrypted with; ``iv`` is in base64 then.
    ConfigError, in QEMU's words.
    """
    if data is not None and file is not None:
        raise ConfigError(where, "'file' and 'data' are mutually exclusive")
    if data is None and file is None:
        raise ConfigError(where, "Either 'file' or 'data' must be provided")
    if key is not None and not iv:
        raise ConfigError(where, "IV is required to decrypt secret")
    content = _encoded(data, where) if data is not None else _read(os.fspath(file or ""), where)
    if format != "raw":
        content = _from_base64(content, where)
    if key is None:
        return content
    from asyncemu.secret_decryption import decrypt

    return decrypt(content, key, _from_base64(_encoded(iv, where), where), where)


def _from_base64(text: bytes, where: str) -> bytes:
    import binascii

    try:
        return binascii.a2b_base64(b"".join(text.split()), strict_mode=True)
    except binascii.Error as error:
        raise ConfigError(where, "Base64 data contains invalid characters") from error


def _encoded(data: str, where: str) -> bytes:
    try:
        # What comes from a command line may be any bytes.
        return os.fsencode(data)
    except UnicodeEncodeError as error:
        raise ConfigError(where, "the secret is not text") from error


def _read(path: str, where: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # pathlib takes a tool too long to import
            return file.read(_LONGEST)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise ConfigError(where, f"Unable to read {path}: Failed to open file “{path}”: {problem}") from error
