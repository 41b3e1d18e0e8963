# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of virtio-net; QEMU's names."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from asyncemu.net.mac import parse_mac
from asyncemu.plugins import Reference
from asyncemu.virtio.options import VirtioOptions
from asyncemu.virtio.vq_mapping import VqMapping, iothread_of_each_queue

#: Bytes; RFC 791 lets no link have less.
_MIN_MTU: Final = 68


class NetOptions(VirtioOptions):
    """Options of virtio-net."""

    netdev: Annotated[str, Reference("netdev"), Field(description="What the card is plugged into.")]
    mac: str = Field(default="", description="Ethernet address; 52:54:00:12:34:56 and on where not given.")
    rx_queue_size: int = Field(default=256, ge=256, le=1024, description="Entries: a power of two.")
    tx_queue_size: int = Field(default=256, ge=256, le=1024, description="Entries: a power of two.")
    host_mtu: int = Field(default=0, ge=0, le=65535, description="Bytes of a packet at most; 0: the guest's choice.")
    speed: int = Field(default=-1, ge=-1, le=0x7FFFFFFF, description="Mbit/s that the guest is shown; -1: unknown.")
    duplex: Literal["half", "full"] | None = Field(default=None, description="What the guest is shown.")
    mrg_rxbuf: bool = Field(default=True, description="Let a frame have several receive buffers.")
    status: bool = Field(default=True, description="Show the state of the link.")
    ctrl_vq: bool = Field(default=True, description="Offer the control queue, which all ctrl- options need.")
    ctrl_rx: bool = Field(default=True, description="Let the guest choose what it receives.")
    ctrl_rx_extra: bool = Field(default=True, description="And by more modes.")
    ctrl_vlan: bool = Field(default=True, description="Let the guest choose its VLANs.")
    ctrl_mac_addr: bool = Field(default=True, description="Let the guest change the Ethernet address.")
    ctrl_guest_offloads: bool = Field(default=True, description="Let the guest change what it takes unfinished.")
    guest_announce: bool = Field(default=True, description="Have the guest tell the network where it is.")
    csum: bool = Field(default=True, description="Take frames without checksum from the guest.")
    gso: bool = Field(default=True, description="Take whole segments from the guest; off: none of host-*.")
    host_tso4: bool = Field(default=True, description="Of TCP on IPv4.")
    host_tso6: bool = Field(default=True, description="Of TCP on IPv6.")
    host_ecn: bool = Field(default=True, description="With congestion notification.")
    host_ufo: bool = Field(default=True, description="Of UDP.")
    guest_csum: bool = Field(default=True, description="Give the guest frames without checksum, if it takes them.")
    guest_tso4: bool = Field(default=True, description="And whole segments of TCP on IPv4.")
    guest_tso6: bool = Field(default=True, description="Of TCP on IPv6.")
    guest_ecn: bool = Field(default=True, description="With congestion notification.")
    guest_ufo: bool = Field(default=True, description="Of UDP.")
    iothread_vq_mapping: list[VqMapping] = Field(
        default=[], max_length=64, description="Iothreads that share the queue pairs: iothread, and vqs (the pairs)."
    )

    @field_validator("mac")
    @classmethod
    def _address(cls, value: str) -> str:
        if value:
            parse_mac(value)
        return value

    @field_validator("rx_queue_size", "tx_queue_size")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"{value} is not a power of two")
        return value

    @field_validator("host_mtu")
    @classmethod
    def _mtu(cls, value: int) -> int:
        if 0 < value < _MIN_MTU:
            raise ValueError(f"{value} is below {_MIN_MTU}, the least that IP works with")
        return value

    @field_validator("iothread_vq_mapping")
    @classmethod
    def _one_of_the_two(cls, value: list[VqMapping], info: ValidationInfo) -> list[VqMapping]:
        if value and info.data.get("iothread"):
            raise ValueError("can't go with iothread; leave one of the two out")
        return value

    def pair_iothreads(self, pairs: int) -> list[str]:
        """Id of the iothread of each queue pair; empty: the main loop. ValueError: the mapping does not fit."""
        if not self.iothread_vq_mapping:
            return [self.iothread] * pairs
        return iothread_of_each_queue(self.iothread_vq_mapping, pairs)

    def home_iothread(self) -> str:
        """Where the first pair is served."""
        for entry in self.iothread_vq_mapping:
            if entry.vqs is None or 0 in entry.vqs:
                return entry.iothread
        return self.iothread
