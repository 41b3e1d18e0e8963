# SPDX-License-Identifier: GPL-2.0-or-later
"""SiFive test finisher: the register behind the virt board's syscon power-off and reboot (Linux: syscon-poweroff)."""

from __future__ import annotations

from typing import Final

from asyncemu.devices.mmio_device import MmioDevice
from asyncemu.devices.register import reg
from asyncemu.options import Options

#: The low half of the value says what to do; behind FAIL the high half is a code.
FAIL: Final = 0x3333
PASS: Final = 0x5555
RESET: Final = 0x7777


class SifiveTest(MmioDevice[Options], name="sifive-test", size=0x1000):
    """Power-off and reboot by one register."""

    description = "Power-off and reboot by one register."

    compatible = ("sifive,test1", "sifive,test0", "syscon")

    finisher = reg(0x00)

    @finisher.on_bus_write
    def _finish(self, value: int) -> None:
        command = value & 0xFFFF
        if command in (PASS, FAIL):
            self.environment.platform.request_shutdown(command == FAIL)
        elif command == RESET:
            self.environment.platform.request_reset()
