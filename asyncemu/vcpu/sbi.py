# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor binary interface that we serve to a kernel in S-mode, instead of firmware in M-mode.

Extensions: BASE, TIME, sPI (IPI), RFNC (remote fences), HSM (hart states), SRST (reset), DBCN (debug console), and the
legacy console, timer, IPI, fence and shutdown calls. Source: RISC-V SBI specification 2.0.
Everything runs on the calling hart's thread; what it causes beyond the hart goes through ``SbiPlatform``, any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from asyncemu.errors import GuestError
from asyncemu.memory import AddressSpace

# Extension numbers: chapter by chapter.
BASE: Final = 0x10
TIME: Final = 0x54494D45
IPI: Final = 0x735049
RFENCE: Final = 0x52464E43
HSM: Final = 0x48534D
SRST: Final = 0x53525354
DBCN: Final = 0x4442434E
LEGACY_SET_TIMER: Final = 0
LEGACY_PUTCHAR: Final = 1
LEGACY_GETCHAR: Final = 2
LEGACY_CLEAR_IPI: Final = 3
LEGACY_SEND_IPI: Final = 4
LEGACY_FENCES: Final = (5, 6, 7)
LEGACY_SHUTDOWN: Final = 8

# Error codes: SBI 2.0, table 1.
SUCCESS: Final = 0
FAILED: Final = -1
NOT_SUPPORTED: Final = -2
INVALID_PARAM: Final = -3
ALREADY_AVAILABLE: Final = -6

SPEC_VERSION: Final = 2 << 24
#: No number is assigned to us (SBI 2.0, table of implementation ids): "aemu" in ASCII can't collide with a small one.
IMPLEMENTATION_ID: Final = int.from_bytes(b"aemu", "big")
IMPLEMENTATION_VERSION: Final = 1

#: Bytes of one DBCN write or read that we take; the caller asks again for the rest (SBI 2.0, 12.1 allows less).
MAX_CONSOLE_BYTES: Final = 4096

#: The bit of MIP that the timer calls drive.
STIP: Final = 1 << 5


class SbiHart(Protocol):
    """The calling hart. See RiscvCpu."""

    hart_id: int

    def set_timer(self, ticks: int, line: int) -> None: ...
    def raise_software_interrupt(self) -> None: ...
    def stop_in_callback(self) -> None: ...


class SbiPlatform(Protocol):
    """The machine around the harts. Any thread."""

    def console_write(self, data: bytes) -> int:
        """Output of the debug console; how many bytes were taken."""

    def console_read(self, limit: int) -> bytes:
        """Input of the debug console that has come, at most ``limit`` bytes; never waits."""

    def request_shutdown(self, failed: bool) -> None:
        """The guest powers off; ``failed`` when it says that something is wrong."""

    def request_reset(self) -> None:
        """The guest reboots."""


Result = tuple[int, int]


class Sbi:
    """One for all harts of a machine."""

    def __init__(self, platform: SbiPlatform, memory: AddressSpace, harts: int = 1) -> None:
        self.platform = platform
        self.memory = memory
        self.harts = harts
        self._extensions: dict[int, Callable[[SbiHart, list[int]], Result]] = {
            BASE: self._base,
            TIME: self._time,
            IPI: self._ipi,
            RFENCE: self._remote_fence,
            HSM: self._hart_state,
            SRST: self._system_reset,
            DBCN: self._debug_console,
        }

    def call(self, hart: SbiHart, arguments: list[int]) -> Result:
        """Serve an `ecall`. ``arguments`` are a0 to a7; the result goes to (a0, a1)."""
        number = arguments[7]
        extension = self._extensions.get(number)
        if extension is not None:
            return extension(hart, arguments)
        if number <= LEGACY_SHUTDOWN:
            # SBI 2.0, chapter 5: these return in a0 and leave a1 alone.
            return self._legacy(hart, number, arguments), arguments[1]
        return NOT_SUPPORTED, 0

    # ---- extensions, in the specification's order

    def _base(self, hart: SbiHart, arguments: list[int]) -> Result:
        match arguments[6]:
            case 0:
                return SUCCESS, SPEC_VERSION
            case 1:
                return SUCCESS, IMPLEMENTATION_ID
            case 2:
                return SUCCESS, IMPLEMENTATION_VERSION
            case 3:
                probed = arguments[0]
                return SUCCESS, int(probed in self._extensions or probed <= LEGACY_SHUTDOWN)
            case 4 | 5 | 6:
                # mvendorid, marchid, mimpid: 0 is "not implemented" for each.
                return SUCCESS, 0
        return NOT_SUPPORTED, 0

    def _legacy(self, hart: SbiHart, number: int, arguments: list[int]) -> int:
        if number == LEGACY_SET_TIMER:
            hart.set_timer(arguments[0], STIP)
        elif number == LEGACY_PUTCHAR:
            self.platform.console_write(bytes((arguments[0] & 0xFF,)))
        elif number == LEGACY_GETCHAR:
            data = self.platform.console_read(1)
            return data[0] if data else -1
        elif number == LEGACY_SEND_IPI:
            hart.raise_software_interrupt()
        elif number == LEGACY_SHUTDOWN:
            self.platform.request_shutdown(False)
            hart.stop_in_callback()
        return SUCCESS

    def _time(self, hart: SbiHart, arguments: list[int]) -> Result:
        if arguments[6] != 0:
            return NOT_SUPPORTED, 0
        hart.set_timer(arguments[0], STIP)
        return SUCCESS, 0

    def _ipi(self, hart: SbiHart, arguments: list[int]) -> Result:
        if arguments[6] != 0:
            return NOT_SUPPORTED, 0
        if not self._mask_is_valid(arguments):
            return INVALID_PARAM, 0
        if self._mask_has(arguments, hart.hart_id):
            hart.raise_software_interrupt()
        return SUCCESS, 0

    def _remote_fence(self, hart: SbiHart, arguments: list[int]) -> Result:
        # One hart: its own fences are instructions that the translator obeys, and there is no remote one.
        if arguments[6] > 2:
            return NOT_SUPPORTED, 0
        return (SUCCESS, 0) if self._mask_is_valid(arguments) else (INVALID_PARAM, 0)

    def _hart_state(self, hart: SbiHart, arguments: list[int]) -> Result:
        known = arguments[0] < self.harts
        match arguments[6]:
            case 0:
                return (ALREADY_AVAILABLE if known else INVALID_PARAM), 0
            case 1:
                # The only hart that runs can't be stopped: there would be nobody to start it.
                return FAILED, 0
            case 2:
                return (SUCCESS, 0) if known else (INVALID_PARAM, 0)
            case 3:
                # Retentive suspend (type 0) is WFI, which the caller's idle loop does anyway.
                return (SUCCESS, 0) if arguments[0] == 0 else (NOT_SUPPORTED, 0)
        return NOT_SUPPORTED, 0

    def _system_reset(self, hart: SbiHart, arguments: list[int]) -> Result:
        if arguments[6] != 0:
            return NOT_SUPPORTED, 0
        kind, reason = arguments[0], arguments[1]
        if kind == 0:
            self.platform.request_shutdown(reason != 0)
        elif kind in (1, 2):
            self.platform.request_reset()
        else:
            return INVALID_PARAM, 0
        hart.stop_in_callback()
        return SUCCESS, 0

    def _debug_console(self, hart: SbiHart, arguments: list[int]) -> Result:
        function, length, address = arguments[6], arguments[0], arguments[1]
        if function == 2:
            taken = self.platform.console_write(bytes((length & 0xFF,)))
            return (SUCCESS if taken else FAILED), 0
        if function > 2:
            return NOT_SUPPORTED, 0
        if arguments[2]:
            # The upper half of the physical address, which no address here has.
            return INVALID_PARAM, 0
        length = min(length, MAX_CONSOLE_BYTES)
        try:
            if function == 0:
                return SUCCESS, self.platform.console_write(self.memory.read(address, length))
            self.memory.view(address, length)
            data = self.platform.console_read(length)
            self.memory.write(address, data)
        except GuestError:
            return INVALID_PARAM, 0
        return SUCCESS, len(data)

    # ---- hart masks: SBI 2.0, 3.1

    def _mask_is_valid(self, arguments: list[int]) -> bool:
        mask, base = arguments[0], arguments[1]
        if base == (1 << 64) - 1:
            return True
        return base + mask.bit_length() <= self.harts if mask else True

    def _mask_has(self, arguments: list[int], hart_id: int) -> bool:
        mask, base = arguments[0], arguments[1]
        if base == (1 << 64) - 1:
            return True
        return hart_id >= base and bool(mask >> (hart_id - base) & 1)
