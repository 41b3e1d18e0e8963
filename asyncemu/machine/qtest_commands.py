# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of QEMU's qtest protocol as values, whatever they look like on the wire. Addresses are 64-bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Bytes that one command reads or writes, at most. Arbitrary: more than any test of a device moves at a time.
MAX_DATA: Final = 1 << 20
#: ns; QEMU's clocks are int64_t.
MAX_TIME: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class ClockStep:
    """Let ``ns`` pass; None: go to the next deadline."""

    ns: int | None


@dataclass(frozen=True, slots=True)
class ClockSet:
    """Let guest time be ``ns``, unless that has passed."""

    ns: int


@dataclass(frozen=True, slots=True)
class ReadValue:
    """One access of ``size`` 1, 2, 4 or 8 bytes."""

    address: int
    size: int


@dataclass(frozen=True, slots=True)
class WriteValue:
    """One access of ``size`` 1, 2, 4 or 8 bytes; ``value`` fits into them."""

    address: int
    size: int
    value: int


@dataclass(frozen=True, slots=True)
class Read:
    """``size`` bytes, 1 to MAX_DATA; the answer is in hexadecimal or base64."""

    address: int
    size: int
    base64: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """``data`` has MAX_DATA bytes at most, and may have none."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Fill:
    """memset: ``size`` bytes, 0 to MAX_DATA, of ``value``."""

    address: int
    size: int
    value: int


@dataclass(frozen=True, slots=True)
class Endianness:
    """What order the machine's bytes have."""


@dataclass(frozen=True, slots=True)
class Intercept:
    """Tell of the inputs of the device ``path`` from now on; ``outputs``: of its outputs."""

    path: str
    outputs: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """What the client sent is no command, and why."""

    reason: str


Command = ClockStep | ClockSet | ReadValue | WriteValue | Read | Write | Fill | Endianness | Intercept
