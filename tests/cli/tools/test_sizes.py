# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes on command lines, against ``qemu-img measure``, which prints what it has understood."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.sizes import NotASize, SizeOutOfRange, parse_size, size_argument
from asyncemu.size import human_size

TEXTS = [
    *(
        "1",
        "1k",
        "1K",
        "1.5",
        "1.5k",
        " 1k",
        "\t1k",
        "+1k",
        "-1k",
        "0x10",
        "0x1.8k",
        "1e3",
        "1e",
        "1.k",
        ".5k",
        "1b",
        "1B",
    ),
    *("1kb", "010", "8E", "7E", "16E", "9223372036854774784", "9223372036854775808", "18446744073709551616", "", "k"),
    *(
        "nan",
        "inf",
        "0.1k",
        "1.99999999999999999999k",
        "1 k",
        "1k ",
        "1,5k",
        "0x",
        "0xg",
        "--1",
        "1.5.5k",
        "0.5G",
        "0x10K",
    ),
    *("0.0009765625k", "0.00048828125k", "0.00048828124k", "1٠k", "00000000000000000000000000000001"),
]


def theirs(text: str) -> str:
    """Bytes, or the message, without the warning of hexadecimal numbers with units: ours is on our own stderr."""
    found = subprocess.run(["qemu-img", "measure", "--size", text], capture_output=True, text=True, check=False)
    return found.stdout.splitlines()[0].rpartition(" ")[2] if found.returncode == 0 else _errors(found.stderr)


def _errors(lines: str) -> str:
    return "".join(line for line in lines.splitlines(keepends=True) if not line.startswith("qemu-img: warning: "))


def ours(text: str) -> str:
    """The same; raw images are whole sectors."""
    try:
        size = size_argument("image size", text)
    except ToolError as error:
        return "".join(f"qemu-img: {message}\n" for message in error.messages)
    return str(-(-size // 512) * 512)


@pytest.mark.parametrize("text", TEXTS)
def test_text_as_qemu_img_reads_it(text: str) -> None:
    assert ours(text) == theirs(text)


@settings(max_examples=100, deadline=None)
@given(
    text=st.from_regex(r"[+]?[0-9]{1,9}(\.[0-9]{0,12})?[bkKmMgG]?", fullmatch=True)
    | st.text("0123456789.kKMGTPEBbxX+- e", min_size=1, max_size=8).filter(lambda text: not text.startswith("-"))
)
def test_any_text_as_qemu_img_reads_it(text: str) -> None:
    assert ours(text) == theirs(text)


def test_hexadecimal_number_with_a_unit_is_warned_of_also_when_it_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotASize):
        parse_size("0x0G0")
    assert "warning: Using a multiplier suffix on hex numbers is deprecated: 0x0G0" in capsys.readouterr().err


@given(number=st.integers(0, (1 << 64) - 1))
def test_plain_number_is_itself(number: int) -> None:
    assert parse_size(str(number)) == number


def test_more_than_64_bits_is_out_of_range() -> None:
    with pytest.raises(SizeOutOfRange):
        parse_size("1" * 400)


def test_bounds_are_named() -> None:
    with pytest.raises(ToolError, match=r"Invalid bs specified\. Must be between 1 and 10\."):
        size_argument("bs", "11", 1, 10)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1023, "0.999 KiB"),
        (1024, "1 KiB"),
        (1 << 20, "1 MiB"),
        (1000 << 10, "0.977 MiB"),
        (1536, "1.5 KiB"),
        (197120, "192 KiB"),
        (3 << 30, "3 GiB"),
        (7 << 60, "7 EiB"),
    ],
)
def test_human_size_has_three_digits(size: int, text: str) -> None:
    assert human_size(size) == text
