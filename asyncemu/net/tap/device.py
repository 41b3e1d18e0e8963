# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's tun driver: its ioctls. linux/if_tun.h; Documentation/networking/tuntap.rst. All raise OSError."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final, NamedTuple

from asyncemu.net import vnet_header

CLONE_DEVICE: Final = "/dev/net/tun"

#: Bytes of an interface's name with the zero behind it: IFNAMSIZ.
NAME_SIZE: Final = 16

_TUNSETIFF: Final = 0x400454CA
_TUNGETFEATURES: Final = 0x800454CF
_TUNSETOFFLOAD: Final = 0x400454D0
_TUNGETIFF: Final = 0x800454D2
_TUNSETSNDBUF: Final = 0x400454D4
_TUNSETVNETHDRSZ: Final = 0x400454D8
_TUNSETVNETLE: Final = 0x400454DC

_IFF_TAP: Final = 0x0002
_IFF_MULTI_QUEUE: Final = 0x0100
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000

_F_CSUM: Final = 0x01
_F_TSO4: Final = 0x02
_F_TSO6: Final = 0x04
_F_TSO_ECN: Final = 0x08
_F_UFO: Final = 0x10

# struct ifreq: a name, and a union of 24 bytes that begins with the flags.
_IFREQ: Final = struct.Struct(f"={NAME_SIZE}sH22x")
_INT: Final = struct.Struct("=i")
_UNSIGNED: Final = struct.Struct("=I")


class TapDevice(NamedTuple):
    """One queue, open and non-blocking."""

    fd: int
    name: str
    #: The header of virtio-net is in front of each frame, vnet_header.LENGTH bytes.
    vnet_header: bool


def open_tap(name: str, want_header: bool, several: bool) -> TapDevice:
    """Open a queue of the interface ``name`` (empty: the host chooses one), which is made when it is not there.

    ``want_header``: with the header of virtio-net, where the host has it. ``several``: it has more queues than this.
    """
    fd = os.open(CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        (features,) = _UNSIGNED.unpack(fcntl.ioctl(fd, _TUNGETFEATURES, bytes(_UNSIGNED.size)))
        flags = _IFF_TAP | _IFF_NO_PI | (_IFF_MULTI_QUEUE if several else 0)
        header = want_header and bool(features & _IFF_VNET_HDR)
        if header:
            flags |= _IFF_VNET_HDR
        # "tap%d": the kernel puts the first number that is free.
        answer = fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(os.fsencode(name or "tap%d"), flags))
        if header:
            _set_up_header(fd)
        return TapDevice(fd, _name_in(answer), header)
    except BaseException:
        os.close(fd)
        raise


def given_tap(fd: int) -> TapDevice:
    """A queue that somebody has opened for us; it is ours from now on. OSError: it is none."""
    answer = fcntl.ioctl(fd, _TUNGETIFF, bytes(_IFREQ.size))
    header = bool(_IFREQ.unpack(answer)[1] & _IFF_VNET_HDR)
    os.set_blocking(fd, False)
    if header:
        _set_up_header(fd)
    return TapDevice(fd, _name_in(answer), header)


def _name_in(ifreq: bytes) -> str:
    name: bytes = _IFREQ.unpack(ifreq)[0]
    return os.fsdecode(name.rstrip(b"\0"))


def _set_up_header(fd: int) -> None:
    fcntl.ioctl(fd, _TUNSETVNETHDRSZ, _INT.pack(vnet_header.LENGTH))
    # As in virtio 1.0 on all hosts.
    fcntl.ioctl(fd, _TUNSETVNETLE, _INT.pack(1))


def set_offload(fd: int, checksum: bool, tcpv4: bool, tcpv6: bool, ecn: bool, udp: bool) -> None:
    """What the host may leave unfinished in what it sends us; a host without UFO, which Linux 4.14 took away, too."""
    wanted = 0
    if checksum:
        # The driver refuses the others without it.
        wanted = _F_CSUM | (_F_TSO4 if tcpv4 else 0) | (_F_TSO6 if tcpv6 else 0)
        wanted |= _F_TSO_ECN if ecn and (tcpv4 or tcpv6) else 0
    if udp and checksum:
        try:
            fcntl.ioctl(fd, _TUNSETOFFLOAD, wanted | _F_UFO)
        except OSError:
            pass
        else:
            return
    fcntl.ioctl(fd, _TUNSETOFFLOAD, wanted)


def set_send_buffer(fd: int, nbytes: int) -> None:
    """How much may be on its way from us into the host."""
    fcntl.ioctl(fd, _TUNSETSNDBUF, _INT.pack(nbytes))
