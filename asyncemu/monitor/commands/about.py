# SPDX-License-Identifier: GPL-2.0-or-later
"""What this is: version, name, UUID, accelerator."""

from __future__ import annotations

from typing import Final

from asyncemu import __version__
from asyncemu.monitor.command import Call, command
from asyncemu.wire_model import WireModel

#: The QEMU whose wire names and behaviour we have: what clients that look at the version are to know.
QEMU_VERSION: Final = (7, 2, 0)


class VersionTriple(WireModel):
    """QEMU: VersionTriple."""

    major: int
    minor: int
    micro: int


class VersionInfo(WireModel):
    """QEMU: VersionInfo."""

    qemu: VersionTriple
    package: str


class NameInfo(WireModel):
    """QEMU: NameInfo."""

    name: str | None = None


class UuidInfo(WireModel):
    """QEMU: UuidInfo."""

    UUID: str


class KvmInfo(WireModel):
    """QEMU: KvmInfo."""

    enabled: bool
    present: bool


def version() -> VersionInfo:
    """Also of the greeting."""
    major, minor, micro = QEMU_VERSION
    return VersionInfo(qemu=VersionTriple(major=major, minor=minor, micro=micro), package=f"asyncemu {__version__}")


@command("query-version", anywhere=True)
async def query_version(call: Call) -> VersionInfo:
    """The QEMU that we are like, and our own version."""
    return version()


@command("query-name", anywhere=True)
async def query_name(call: Call) -> NameInfo:
    """[machine] name."""
    return NameInfo(name=call.control.machine.options.name or None)


@command("query-uuid", anywhere=True)
async def query_uuid(call: Call) -> UuidInfo:
    """[machine] uuid; all zeros when there is none, as QEMU has it."""
    return UuidInfo(UUID=str(call.control.machine.options.uuid))


@command("query-kvm")
async def query_kvm(call: Call) -> KvmInfo:
    """Is the guest's code run by KVM?"""
    return KvmInfo(enabled=False, present=False)
