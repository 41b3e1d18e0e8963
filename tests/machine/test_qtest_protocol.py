# SPDX-License-Identifier: GPL-2.0-or-later
"""The qtest protocol without a machine: whatever a client sends, and QEMU's own words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.machine import qtest_protocol as protocol
from asyncemu.machine.qtest_commands import (
    MAX_DATA,
    MAX_TIME,
    ClockSet,
    ClockStep,
    Command,
    Endianness,
    Failure,
    Fill,
    Intercept,
    Read,
    ReadValue,
    Write,
    WriteValue,
)
from asyncemu.machine.qtest_protocol import MAX_LINE, CommandBuffer, parse
from asyncemu.testing.qtest_client import encode

addresses = st.integers(0, (1 << 64) - 1)
times = st.integers(0, MAX_TIME)
widths = st.sampled_from([1, 2, 4, 8])
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(ClockStep, st.none() | times),
    st.builds(ClockSet, times),
    st.builds(ReadValue, addresses, widths),
    widths.flatmap(lambda size: st.builds(WriteValue, addresses, st.just(size), st.integers(0, (1 << 8 * size) - 1))),
    st.builds(Read, addresses, st.integers(1, MAX_DATA), st.booleans()),
    st.builds(Write, addresses, st.binary()),
    st.builds(Fill, addresses, st.integers(0, MAX_DATA), st.integers(0, 255)),
    st.builds(Endianness),
    st.builds(Intercept, names, st.booleans()),
)
#: Lines that look like commands more often than arbitrary bytes do.
words = st.sampled_from([*protocol._COMMANDS, b"0x", b"-1", b"0x1000", b"07", b"08", b"zz", b"0" * 100, b"QUJD"])
almost_commands = st.lists(words | st.binary(max_size=9), max_size=5).map(b" ".join)


@given(st.binary() | almost_commands)
def test_parse_any_bytes_is_a_command_or_one_line_of_failure(line: bytes) -> None:
    parsed = parse(line)

    reason = parsed.reason if isinstance(parsed, Failure) else "none"
    assert reason.isprintable()
    assert 0 < len(reason) < 300


@given(commands)
def test_parse_encoded_command_is_the_same(command: Command) -> None:
    assert parse(encode(command)) == command


@given(st.lists(commands), st.lists(st.integers(1, 50)))
def test_buffer_bytes_in_any_pieces_same_commands(sent: list[Command], cuts: list[int]) -> None:
    stream = b"".join(map(encode, sent))
    buffer = CommandBuffer()
    taken = []
    for length in [*cuts, len(stream)]:
        buffer.feed(stream[:length])
        stream = stream[length:]
        while (command := buffer.take()) is not None:
            taken.append(command)

    assert taken == sent


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"clock_step", ClockStep(None)),
        (b"clock_step 0x10\r\n", ClockStep(16)),
        (b"clock_set +010", ClockSet(8)),
        (b"readb 0X1f", ReadValue(31, 1)),
        (b"readw -1", ReadValue((1 << 64) - 1, 2)),
        (b"readl  00", ReadValue(0, 4)),
        (b"writeb 0 0x1ff", WriteValue(0, 1, 0xFF)),
        (b"writeq 0 -2", WriteValue(0, 8, (1 << 64) - 2)),
        (b"b64read 0 3", Read(0, 3, base64=True)),
        (b"write 0 4 0xABcd", Write(0, b"\xab\xcd\0\0")),
        (b"write 0 1 0xabcd", Write(0, b"\xab")),
        (b"b64write 0 9 QUJD", Write(0, b"ABC")),
        (b"b64write 0 2 QUJD", Write(0, b"AB")),
        (b"memset 16 0 -1", Fill(16, 0, 0xFF)),
        (b"irq_intercept_out /machine/plic", Intercept("/machine/plic", outputs=True)),
    ],
)
def test_parse_numbers_and_data_as_qemu_reads_them(line: bytes, command: Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "Unknown command ''"),
        (b"outb 1 2", "Unknown command 'outb'"),
        (b"\xff\n", r"Unknown command '\xff'"),
        (b"x" * 99, f"Unknown command '{'x' * 40}'"),
        (b"endianness 1", "endianness takes nothing"),
        (b"clock_step 1 2", "clock_step takes [NS]"),
        (b"writel 0", "writel takes ADDR VALUE"),
        (b"readl 08", "readl: ADDR: '08' is no number"),
        (b"readl 0x", "readl: ADDR: '0x' is no number"),
        (b"readl 1_0", "readl: ADDR: '1_0' is no number"),
        (b"readl 18446744073709551616", "readl: ADDR: '18446744073709551616' has more than 64 bits"),
        (b"clock_step -1", "clock_step: NS: '-1' is not from 0 to 9223372036854775807"),
        (b"read 0 0", "read: SIZE: 0 is not from 1 to 1048576"),
        (b"memset 0 0x100001 0", "memset: SIZE: 1048577 is not from 0 to 1048576"),
        (b"write 0 1 abcd", "write: DATA: give 0x and two hexadecimal digits for each byte"),
        (b"write 0 1 0xabc", "write: DATA: give 0x and two hexadecimal digits for each byte"),
        (b"b64write 0 1 Q*==", "b64write: DATA: is not base64"),
    ],
)
def test_parse_failure_says_what_is_wrong(line: bytes, reason: str) -> None:
    assert parse(line) == Failure(reason)


def test_buffer_line_of_the_greatest_length_is_taken() -> None:
    buffer = CommandBuffer()
    buffer.feed(b"endianness" + b" " * (MAX_LINE - len("endianness") - 1) + b"\n")

    assert buffer.take() == Endianness()


def test_buffer_line_too_long_fails_once_and_the_next_is_taken() -> None:
    buffer = CommandBuffer()
    buffer.feed(b"x" * MAX_LINE)
    too_long = buffer.take()
    buffer.feed(b"y" * MAX_LINE)
    rest = buffer.take()
    buffer.feed(b"zz\nendianness\n")

    assert too_long == Failure(f"a line has fewer than {MAX_LINE} bytes")
    assert (rest, buffer.take(), buffer.take()) == (None, Endianness(), None)


@given(st.lists(st.binary(max_size=MAX_LINE), max_size=3))
def test_buffer_fed_no_more_than_its_room_never_holds_more(pieces: list[bytes]) -> None:
    buffer = CommandBuffer()
    for piece in pieces:
        buffer.feed(piece[: buffer.room])
        assert 0 <= buffer.room <= MAX_LINE
        buffer.take()


def test_answers_as_qemu_writes_them() -> None:
    assert [
        protocol.ok(),
        protocol.ok("12"),
        protocol.ok_value(0x74726976),
        protocol.ok_data(Read(0, 2), b"\x01\xab"),
        protocol.ok_data(Read(0, 3, base64=True), b"ABC"),
        protocol.fail("two\nlines"),
        protocol.irq(11, True),
        protocol.irq(11, False),
    ] == [
        b"OK\n",
        b"OK 12\n",
        b"OK 0x0000000074726976\n",
        b"OK 0x01ab\n",
        b"OK QUJD\n",
        b"FAIL two lines\n",
        b"IRQ raise 11\n",
        b"IRQ lower 11\n",
    ]
