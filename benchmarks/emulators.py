# SPDX-License-Identifier: GPL-2.0-or-later
"""The two sides of a comparison: the same riscv64 guest with the same devices, under us and under QEMU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.errors import BenchmarkError
from benchmarks.process import Mapping

#: Of the guest's RAM, in MiB.
MEMORY: Final = 256
#: The repository: `python -m asyncemu` is run from here, so that the tree's own asyncemu is what is measured.
_ROOT: Final = Path(__file__).resolve().parent.parent
_QEMU: Final = "qemu-system-riscv64"


@dataclass(frozen=True, slots=True)
class Guest:
    """What both boot. ``disk`` is a raw image that the guest may write to; with ``network`` it has a user network."""

    kernel: Path
    initrd: Path
    disk: Path
    command_line: str
    network: bool = False


class Emulator(Protocol):
    """One side."""

    name: str
    #: Where its command is to be run.
    directory: Path

    def command(self, guest: Guest) -> list[str]:
        """The command that boots ``guest`` with its serial console on standard input and output."""

    def is_guest_ram(self, mapping: Mapping) -> bool:
        """Is this mapping of the emulator's process the guest's RAM?"""


class Asyncemu:
    """Us, under the interpreter that runs the benchmark. ``scratch`` is a directory for vm.toml."""

    name = "asyncemu"

    def __init__(self, scratch: Path) -> None:
        self.directory = _ROOT
        self._scratch = scratch

    def command(self, guest: Guest) -> list[str]:
        config = self._scratch / "vm.toml"
        config.write_text(vm_toml(guest))
        return [sys.executable, "-m", "asyncemu", str(config)]

    def is_guest_ram(self, mapping: Mapping) -> bool:
        return "memfd:asyncemu-ram" in mapping.name


_NETWORK: Final = """
[[netdev]]
id = "net0"
type = "user"

[[device]]
driver = "virtio-net"
netdev = "net0"
"""


def vm_toml(guest: Guest) -> str:
    """The machine of ``Qemu.command``, in our words."""
    # A JSON string is a TOML basic string.
    kernel, initrd, disk = (json.dumps(str(path)) for path in (guest.kernel, guest.initrd, guest.disk))
    return f"""\
[machine]
type = "virt"
accel = ["tcg"]
memory = "{MEMORY}MiB"
smp = 1
kernel = {kernel}
initrd = {initrd}
append = {json.dumps(guest.command_line)}

[[blockdev]]
node-name = "disk0"
driver = "file"
filename = {disk}

[[chardev]]
id = "console"
backend = "stdio"

[[device]]
driver = "virtio-blk"
drive = "disk0"

[[device]]
driver = "virtio-rng"
{_NETWORK if guest.network else ""}"""


class Qemu:
    """qemu-system-riscv64 with TCG. Raises BenchmarkError when it is not there."""

    name = "qemu"

    def __init__(self, scratch: Path) -> None:
        self.directory = scratch
        path = shutil.which(_QEMU)
        if path is None:
            raise BenchmarkError(f"{_QEMU} was not found: install Debian's packages qemu-system-misc and opensbi")
        self._path = path

    def version(self) -> str:
        """Its first line about itself."""
        done = subprocess.run([self._path, "--version"], capture_output=True, text=True)
        return (done.stdout.splitlines() or [self.name])[0]

    def command(self, guest: Guest) -> list[str]:
        return [
            *(self._path, "-M", "virt", "-accel", "tcg", "-smp", "1", "-m", f"{MEMORY}M"),
            *("-nodefaults", "-display", "none", "-monitor", "none", "-serial", "stdio"),
            # The modern transport, which is the one that we have.
            *("-global", "virtio-mmio.force-legacy=false"),
            *("-kernel", str(guest.kernel), "-initrd", str(guest.initrd), "-append", guest.command_line),
            # A comma in a QEMU option's value is written twice.
            *("-drive", f"if=none,id=disk0,format=raw,cache=writeback,file={str(guest.disk).replace(',', ',,')}"),
            *("-device", "virtio-blk-device,drive=disk0", "-device", "virtio-rng-device"),
            *(("-netdev", "user,id=net0", "-device", "virtio-net-device,netdev=net0") if guest.network else ()),
        ]

    def is_guest_ram(self, mapping: Mapping) -> bool:
        # The translation buffer is executable, and RAM is not.
        return mapping.size == MEMORY << 20 and mapping.permissions == "rw-p" and not mapping.name
