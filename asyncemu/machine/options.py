# SPDX-License-Identifier: GPL-2.0-or-later
"""The keys of vm.toml's [machine] table."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationInfo

from asyncemu.chardev.address import InetAddress, parse_address
from asyncemu.host_path import HostPath, relative_to_config
from asyncemu.machine.run_state import ActionOptions
from asyncemu.options import Options
from asyncemu.plugins import Reference
from asyncemu.size import Size

#: Bytes; Linux's own limit for riscv64 is 1024, with the terminating zero.
MAX_COMMAND_LINE = 1023


def _command_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("has a character that can't be printed; the kernel's command line is one line of text")
    if len(value.encode()) > MAX_COMMAND_LINE:
        raise ValueError(f"has {len(value.encode())} bytes; the kernel takes {MAX_COMMAND_LINE} at most")
    return value


def _socket_address(value: str, info: ValidationInfo) -> str:
    address = parse_address(value)
    return value if isinstance(address, InetAddress) else f"unix:{relative_to_config(address, info)}"


class MachineOptions(Options):
    """[machine]"""

    name: str = Field("", max_length=255, description="What the machine is called (QEMU's -name).")
    uuid: UUID = Field(UUID(int=0), description="The machine's UUID.")
    type: Literal["virt"] = Field("virt", description="Board: virt is QEMU's riscv64 board.")
    accel: list[Literal["tcg"]] = Field(["tcg"], min_length=1, description="Accelerators; the first that works.")
    memory: Size = Field(128 << 20, description="RAM: 256M, 256MiB, 1G, or a number of bytes.")
    smp: Literal[1] = Field(1, description="vCPUs.")
    kernel: HostPath | None = Field(None, description="Linux Image (plain, gzip, EFI zboot), ELF or raw binary.")
    initrd: HostPath | None = Field(None, description="Initial RAM disk for the kernel.")
    append: Annotated[str, AfterValidator(_command_line)] = Field("", description="The kernel's command line.")
    firmware: HostPath | None = Field(
        None, description="M-mode firmware (OpenSBI, U-Boot) instead of the built-in SBI; raw binary or ELF."
    )
    serial: Annotated[str, Reference("chardev")] = Field(
        "", description="chardev of the UART and the firmware's console; the one with id console where not given."
    )
    paused: bool = Field(False, description="Start stopped (QEMU's -S).")
    action: ActionOptions = Field(
        ActionOptions(), description="What follows when the guest reboots, shuts down or fails (QEMU's -action)."
    )
    qtest: Annotated[str, AfterValidator(_socket_address)] = Field(
        "",
        description="unix:PATH or tcp:HOST:PORT, where a client drives the devices and the clocks by QEMU's qtest "
        "protocol; there is no vCPU then, and the machine ends when the client leaves.",
    )
