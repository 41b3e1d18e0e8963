# SPDX-License-Identifier: GPL-2.0-or-later
"""Expressions; test_against_qemu.py compares them with QEMU's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.monitor.hmp.expression import MAX_DEPTH, parse_expression
from asyncemu.monitor.hmp.scanner import LineFault, Scanner


def value(text: str) -> int:
    """Of an expression with the registers pc = 0x1000 and a0 = -1."""
    return parse_expression(Scanner(text), {"pc": 0x1000, "a0": (1 << 64) - 1})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$pc + 8", 0x1008),
        ("$a0", -1),
        ("( $pc|1 )*2", 0x2002),
        ("0x7fffffffffffffff + 1", -(1 << 63)),
        ("0x8000000000000000 / -1", -(1 << 63)),
        ("-0x10 % 7", -2),
        ("0000000000000000000000000000001", 1),
    ],
)
def test_value_of_an_expression(text: str, expected: int) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$nope", "unknown register"),
        ("1 + ", "unexpected end of expression"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("(1", "')' expected"),
        ("'", "character constant expected"),
        ("'ab'", "missing terminating ' character"),
        ("0x10000000000000000", "number too large"),
        ("9" * 4000, "number too large"),
        ("abc", "invalid char 'a' in expression"),
        ("(" * (MAX_DEPTH + 1), "expression is nested too deeply"),
        ("-" * 4000, "expression is nested too deeply"),
    ],
)
def test_fault_is_named(text: str, message: str) -> None:
    with pytest.raises(LineFault) as caught:
        value(text)

    assert str(caught.value) == message


@given(st.text(alphabet="0123456789abxX+-*/%&|^~()'$ ", max_size=60))
def test_any_text_is_a_signed_number_of_64_bits_or_a_fault(text: str) -> None:
    try:
        found = value(text)
    except LineFault:
        return

    assert -(1 << 63) <= found < 1 << 63


@given(
    st.recursive(
        st.integers(0, 1 << 20).map(str),
        lambda inner: st.tuples(inner, st.sampled_from("+-*&|^"), inner).map(lambda parts: f"({' '.join(parts)})"),
        max_leaves=12,
    )
)
def test_expression_in_parentheses_is_as_python_has_it(text: str) -> None:
    expected = eval(text)  # of digits, parentheses and operators, made above

    assert (value(text) - expected) % (1 << 64) == 0
