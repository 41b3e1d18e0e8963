# SPDX-License-Identifier: GPL-2.0-or-later
"""Expressions in command lines: ``$sp + 8 * (1 + 0x10)``.

Grammar and precedence are the monitor's own, and not C's: ``|`` binds tighter than ``+``.

    sum     = logic { ("+" | "-") logic }
    logic   = product { ("&" | "|" | "^") product }
    product = unary { ("*" | "/" | "%") unary }
    unary   = ("+" | "-" | "~") unary | "(" sum ")" | "'" character "'" | "$" register | number

Numbers are C's (0x and 0 lead hexadecimal and octal ones). All is done in 64 bits, two's complement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from asyncemu.monitor.hmp.scanner import LineFault, Scanner

#: Parentheses and signs within each other. Arbitrary: nobody writes that many.
MAX_DEPTH: Final = 64

_MASK: Final = (1 << 64) - 1
_NUMBER: Final = re.compile(r"0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*)")
_REGISTER: Final = re.compile(r"[A-Za-z0-9_.]*")


def signed(value: int, bits: int = 64) -> int:
    """The lower ``bits`` of ``value`` as a signed number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def parse_expression(scanner: Scanner, registers: Mapping[str, int]) -> int:
    """The value of the expression at ``scanner``, signed. Raises LineFault."""
    return _Parser(scanner, registers).sum()


class _Parser:
    def __init__(self, scanner: Scanner, registers: Mapping[str, int]) -> None:
        self._scanner = scanner
        self._registers = registers
        self._depth = 0

    def sum(self) -> int:
        return self._chain({"+": lambda a, b: a + b, "-": lambda a, b: a - b}, self._logic)

    def _logic(self) -> int:
        operators: dict[str, Callable[[int, int], int]] = {
            "&": lambda a, b: a & b,
            "|": lambda a, b: a | b,
            "^": lambda a, b: a ^ b,
        }
        return self._chain(operators, self._product)

    def _product(self) -> int:
        return self._chain({"*": lambda a, b: a * b, "/": _quotient, "%": _remainder}, self._unary)

    def _chain(self, operators: Mapping[str, Callable[[int, int], int]], operand: Callable[[], int]) -> int:
        value = operand()
        while self._scanner.next in operators:
            operator = operators[self._take()]
            value = signed(operator(value, operand()))
        return value

    def _unary(self) -> int:
        self._scanner.skip_spaces()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise LineFault("expression is nested too deeply")
        value = self._operand()
        self._depth -= 1
        self._scanner.skip_spaces()
        return value

    def _operand(self) -> int:
        match self._scanner.next:
            case "+":
                self._take()
                return self._unary()
            case "-":
                self._take()
                return signed(-self._unary())
            case "~":
                self._take()
                return ~self._unary()
            case "(":
                self._take()
                value = self.sum()
                if not self._scanner.rest.startswith(")"):
                    raise LineFault("')' expected")
                self._take()
                return value
            case "'":
                return self._character()
            case "$":
                return self._register()
            case "":
                raise LineFault("unexpected end of expression")
        return self._number()

    def _character(self) -> int:
        self._scanner.take()
        character = self._scanner.take()
        if not character:
            raise LineFault("character constant expected")
        if self._scanner.take() != "'":
            raise LineFault("missing terminating ' character")
        return ord(character)

    def _register(self) -> int:
        self._scanner.take()
        name = self._match(_REGISTER)[0]
        value = self._registers.get(name)
        if value is None:
            raise LineFault("unknown register")
        return signed(value)

    def _number(self) -> int:
        found = _NUMBER.match(self._scanner.line, self._scanner.position)
        if found is None:
            raise LineFault(f"invalid char '{self._scanner.next}' in expression")
        self._scanner.position = found.end()
        hexadecimal, octal, decimal = found.groups()
        # Short enough for a number of 64 bits, zeros in front included: int() takes no longer for what is hostile.
        digits = (hexadecimal or octal or decimal).lstrip("0")
        base = 16 if hexadecimal else 8 if octal else 10
        value = int(digits or "0", base) if len(digits) <= 22 else _MASK + 1
        if value > _MASK:
            raise LineFault("number too large")
        return signed(value)

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._scanner.line, self._scanner.position)
        assert found is not None  # the patterns match the empty text
        self._scanner.position = found.end()
        return found

    def _take(self) -> str:
        character = self._scanner.take()
        self._scanner.skip_spaces()
        return character


def _quotient(dividend: int, divisor: int) -> int:
    """C's: towards zero."""
    if not divisor:
        raise LineFault("division by zero")
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def _remainder(dividend: int, divisor: int) -> int:
    return dividend - divisor * _quotient(dividend, divisor)
