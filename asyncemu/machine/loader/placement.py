# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things go in guest RAM. Addresses are guest physical, sizes are bytes, ends are exclusive."""

from __future__ import annotations

from dataclasses import dataclass

from asyncemu.errors import ConfigError
from asyncemu.machine.loader.source import Source

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """``data`` goes to ``address``; the rest up to ``memory_size`` is to be zero (an ELF's bss)."""

    address: int
    data: memoryview
    memory_size: int

    @property
    def end(self) -> int:
        return self.address + self.memory_size


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """What to copy where, and where to start.

    ``end`` is the first byte after everything that the image claims, zeroed memory included: the next thing may go
    there. ``format`` is for messages: "riscv-image", "elf in gzip". Segments are sorted and do not overlap.
    """

    entry: int
    segments: tuple[Segment, ...]
    end: int
    format: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image may go: ``load_address`` is for those that do not say it themselves; ``memory`` is guest RAM."""

    load_address: int
    memory: range

    def check(self, source: Source, address: int, size: int, what: str = "the image") -> None:
        """Raises ConfigError unless [address, address + size) lies in RAM."""
        memory_end = self.memory.stop
        if address < self.memory.start:
            raise source.error(
                f"{what} wants to be at {address:#x}, below the RAM at {self.memory.start:#x}",
                "link it for this machine, or give a Linux Image",
            )
        if address + size > memory_end:
            raise source.error(
                f"{what} needs {mib(size)} at {address:#x}, but RAM ends at {memory_end:#x}",
                f"raise machine.memory to {mib(address + size - self.memory.start)} or more",
            )


def place(after: int, size: int, alignment: int, memory_end: int, what: str) -> int:
    """The lowest address from ``after`` on that is a multiple of ``alignment`` and has ``size`` bytes of RAM.

    Raises ConfigError if RAM ends before; ``what`` names the thing ("initrd").
    """
    address = align_up(after, alignment)
    missing = address + size - memory_end
    if missing > 0:
        raise ConfigError(
            "machine.memory",
            f"the {what} needs {mib(size)} at {address:#x}, but RAM ends at {memory_end:#x}",
            f"raise it by {mib(missing)} or more",
        )
    return address


def align_up(address: int, alignment: int) -> int:
    return -(-address // alignment) * alignment


def mib(size: int) -> str:
    """A size in the unit and spelling of machine.memory, rounded up: "38MiB"."""
    return f"{-(-size // MIB)}MiB"
