# SPDX-License-Identifier: GPL-2.0-or-later
"""Every error that asyncemu raises on purpose.

    AsyncemuError
    ├── ConfigError      "machine.kernel: vmlinux: no such file; give the path of a riscv64 kernel"
    │   └── ConfigErrors     several of them, found in one pass, a line each
    ├── GuestError       "virtio-blk: descriptor 7 reaches past the end of guest RAM"
    ├── BlockError       "disk0: read of 4096 bytes at 8192: Input/output error"
    ├── ChardevError     "console: Connection refused"
    ├── NetError         "net0: Network is unreachable"
    └── ProtocolError    "nbd client 3, byte 28: magic is 0, expected 0x25609513"

Who is to blame decides the class: the person who wrote the configuration, the guest, the host's kernel (an errno), or
the peer of a protocol. Anything else is a bug of ours: it is not wrapped, it propagates.
Importable from everywhere; imports nothing of ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable


class AsyncemuError(Exception):
    """Base of all errors that a user or an author may want to catch."""


class ConfigError(AsyncemuError):
    """What the user asked for can't be had: one line with the place, the problem and the remedy.

    ``where`` is a TOML path (``machine.kernel``), a file name or an option; ``problem`` says what is wrong;
    ``remedy``, when given, says what to do about it.
    """

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        self.where = where
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{where}: {problem}" + (f"; {remedy}" if remedy else ""))


class ConfigErrors(ConfigError):
    """All that is wrong with a configuration, in the order found; ``str`` gives a line each."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(errors)
        self.where = self.remedy = ""
        self.problem = "\n".join(str(error) for error in self.errors)
        AsyncemuError.__init__(self, self.problem)


class GuestError(AsyncemuError):
    """The guest broke a rule of a device; that device suffers, nobody else."""

    def __init__(self, problem: str, device: str = "") -> None:
        self.problem = problem
        self.device = device
        super().__init__(f"{device}: {problem}" if device else problem)


class HostError(AsyncemuError):
    """The host's kernel refused; ``errno`` says how, ``name`` names the object of ours that asked."""

    def __init__(self, name: str, errno: int, doing: str = "") -> None:
        self.name = name
        self.errno = errno
        super().__init__(f"{name}: {doing}: {os.strerror(errno)}" if doing else f"{name}: {os.strerror(errno)}")


class BlockError(HostError):
    """A block node could not do what was asked."""


class ChardevError(HostError):
    """A character back end could not do what was asked."""


class NetError(HostError):
    """A network back end could not do what was asked."""


class ProtocolError(AsyncemuError):
    """A peer broke its protocol at ``offset`` bytes into the message or stream."""

    def __init__(self, peer: str, offset: int, problem: str) -> None:
        self.peer = peer
        self.offset = offset
        self.problem = problem
        super().__init__(f"{peer}, byte {offset}: {problem}")
