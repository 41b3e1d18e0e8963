# SPDX-License-Identifier: GPL-2.0-or-later
"""File descriptors that a client hands over with a command, over a unix socket (SCM_RIGHTS)."""

from __future__ import annotations

from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.monitor import DescriptorHolder
from asyncemu.wire_model import WireModel


class FdName(WireModel):
    """Of getfd and closefd."""

    fdname: str


class AddFdArguments(WireModel):
    """Of add-fd."""

    fdset_id: int | None = None
    opaque: str | None = None


class RemoveFdArguments(WireModel):
    """Of remove-fd."""

    fdset_id: int
    fd: int | None = None


class AddfdInfo(WireModel):
    """QEMU: AddfdInfo."""

    fdset_id: int
    fd: int


class FdsetFdInfo(WireModel):
    """QEMU: FdsetFdInfo."""

    fd: int
    opaque: str | None = None


class FdsetInfo(WireModel):
    """QEMU: FdsetInfo."""

    fdset_id: int
    fds: list[FdsetFdInfo]


@command("getfd")
async def getfd(call: Call, arguments: FdName) -> None:
    """Keep the descriptor that came with this command under a name, for other commands of this monitor."""
    fd = await _received(call)
    _holder(call).descriptors.keep(arguments.fdname, fd)


@command("closefd")
async def closefd(call: Call, arguments: FdName) -> None:
    """Forget a descriptor that ``getfd`` has kept and nobody has used."""
    _holder(call).descriptors.discard(arguments.fdname)


@command("add-fd")
async def add_fd(call: Call, arguments: AddFdArguments) -> AddfdInfo:
    """Put the descriptor that came with this command into a set, which the file name /dev/fdset/ID stands for."""
    fd = await _received(call)
    id = call.control.fdsets.add(fd, arguments.fdset_id, arguments.opaque)
    return AddfdInfo(fdset_id=id, fd=fd)


@command("remove-fd")
async def remove_fd(call: Call, arguments: RemoveFdArguments) -> None:
    """Take one descriptor out of a set, or all of them. What has been opened by them stays open."""
    call.control.fdsets.remove(arguments.fdset_id, arguments.fd)


@command("query-fdsets")
async def query_fdsets(call: Call) -> list[FdsetInfo]:
    """The sets and what is in them."""
    return [
        FdsetInfo(fdset_id=id, fds=[FdsetFdInfo(fd=fd, opaque=opaque) for fd, opaque in fdset.items()])
        for id, fdset in call.control.fdsets.listed().items()
    ]


def _holder(call: Call) -> DescriptorHolder:
    if not isinstance(call.monitor, DescriptorHolder):
        raise QmpError("this monitor keeps no file descriptors")
    return call.monitor


async def _received(call: Call) -> int:
    holder = _holder(call)
    fd = await holder.context.call(holder.take_descriptor)
    if fd is None:
        raise QmpError("No file descriptor supplied via SCM_RIGHTS")
    return fd
