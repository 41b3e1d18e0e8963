# SPDX-License-Identifier: GPL-2.0-or-later
"""Secrets that are encrypted with another one: AES-256 (FIPS 197) in CBC mode (NIST SP 800-38A 6.2).

The padding is PKCS #7's (RFC 5652 6.3). QEMU: crypto/secret_common.c.
"""

from __future__ import annotations

from typing import Final

from asyncemu.errors import ConfigError

#: Bytes.
KEY_SIZE: Final = 32
BLOCK_SIZE: Final = 16


def decrypt(content: bytes, key: bytes, iv: bytes, where: str) -> bytes:
    """``content`` in clear. ConfigError, in QEMU's words."""
    if len(key) != KEY_SIZE:
        raise ConfigError(where, f"Key should be {KEY_SIZE} bytes in length")
    if len(iv) != BLOCK_SIZE:
        raise ConfigError(where, f"IV should be {BLOCK_SIZE} bytes in length not {len(iv)}")
    if len(content) % BLOCK_SIZE:
        raise ConfigError(where, f"Length {len(content)} must be a multiple of block size {BLOCK_SIZE}")
    try:
        # Imported here: an extra, which hardly anybody needs.
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as error:
        raise ConfigError(where, "it is encrypted", "install cryptography (pip install asyncemu[crypto])") from error
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    clear = decryptor.update(content) + decryptor.finalize()
    padding = clear[-1] if clear else 0
    if not 1 <= padding <= BLOCK_SIZE:
        raise ConfigError(where, f"Incorrect number of padding bytes ({padding}) found on decrypted data")
    return clear[:-padding]
