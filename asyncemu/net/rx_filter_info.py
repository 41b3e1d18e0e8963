# SPDX-License-Identifier: GPL-2.0-or-later
"""RxFilterInfo: what a card lets in, as query-rx-filter tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: QEMU: RxState.
RxState: TypeAlias = Literal["normal", "none", "all"]


@dataclass(frozen=True, slots=True)
class RxFilterInfo:
    """The fields are the members of QEMU's, with underscores. Addresses as 52:54:00:12:34:56."""

    #: Id of the card.
    name: str
    promiscuous: bool
    multicast: RxState
    unicast: RxState
    vlan: RxState
    broadcast_allowed: bool
    #: A table had more addresses than there is room for; all of its kind are let in.
    multicast_overflow: bool
    unicast_overflow: bool
    main_mac: str
    vlan_table: list[int]
    unicast_table: list[str]
    multicast_table: list[str]
