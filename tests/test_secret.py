# SPDX-License-Identifier: GPL-2.0-or-later
"""Secrets: from text and files, and what is wrong with them, in QEMU's words."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.errors import ConfigError
from asyncemu.secret import read_secret

KEY = bytes(range(32))
IV = base64.b64encode(bytes(range(16))).decode()


def test_read_data_is_the_text() -> None:
    assert read_secret("pässword", None) == "pässword".encode()


def test_read_file_in_base64_may_have_lines(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("aGVs\nbG8=\n")

    assert read_secret(None, tmp_path / "secret", "base64") == b"hello"


def test_read_encrypted_is_what_openssl_has_encrypted() -> None:
    encrypted = subprocess.run(
        ["openssl", "enc", "-aes-256-cbc", "-a", "-A", "-K", KEY.hex(), "-iv", base64.b64decode(IV).hex()],
        input=b"letmein",
        check=True,
        capture_output=True,
    ).stdout

    assert read_secret(encrypted.decode(), None, "base64", key=KEY, iv=IV) == b"letmein"


def test_read_encrypted_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)

    with pytest.raises(ConfigError, match=r"install cryptography \(pip install asyncemu\[crypto\]\)"):
        read_secret("a" * 16, None, key=KEY, iv=IV)


@given(st.binary(max_size=64))
def test_read_any_encrypted_is_bytes_or_an_error(content: bytes) -> None:
    text = base64.b64encode(content).decode()
    try:
        found = read_secret(text, None, "base64", key=KEY, iv=IV)
    except ConfigError:
        return
    assert len(found) < len(content)


def test_read_endless_file_is_cut() -> None:
    assert len(read_secret(None, "/dev/zero")) == 1 << 20


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"data": "a", "file": "b"}, "'file' and 'data' are mutually exclusive"),
        ({"data": None, "file": None}, "Either 'file' or 'data' must be provided"),
        ({"data": "!!", "file": None, "format": "base64"}, "Base64 data contains invalid characters"),
        ({"data": "\ud800", "file": None}, "the secret is not text"),
        ({"data": "a", "file": None, "key": KEY}, "IV is required to decrypt secret"),
        ({"data": "a", "file": None, "key": KEY, "iv": "!!"}, "Base64 data contains invalid characters"),
        ({"data": "a", "file": None, "key": KEY, "iv": "AAAA"}, "IV should be 16 bytes in length not 3"),
        ({"data": "a", "file": None, "key": KEY, "iv": IV}, "Length 1 must be a multiple of block size 16"),
        ({"data": "", "file": None, "key": KEY, "iv": IV}, "Incorrect number of padding bytes (0) found"),
        ({"data": "a" * 16, "file": None, "key": b"short", "iv": IV}, "Key should be 32 bytes in length"),
        ({"data": None, "file": "/nonexistent"}, "Unable to read /nonexistent: Failed to open file “/nonexistent”: No"),
        ({"data": None, "file": "a\0b"}, "embedded null byte"),
    ],
)
def test_read_what_is_wrong_is_one_line(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_secret(**arguments)

    assert problem in caught.value.problem
    assert "\n" not in caught.value.problem


@given(st.text(st.characters()))
def test_read_any_base64_is_bytes_or_an_error(text: str) -> None:
    try:
        found = read_secret(text, None, "base64")
    except ConfigError:
        return
    assert len(found) <= len(text)
