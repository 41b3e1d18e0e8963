# SPDX-License-Identifier: GPL-2.0-or-later
"""Which features are offered: 5.1.3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.virtio.net import features
from asyncemu.virtio.net.options import NetOptions

UNFINISHED = features.CSUM | features.GUEST_OFFLOADS | features.HOST_TSO4 | features.HOST_TSO6 | features.HOST_UFO


def offered(options: dict[str, object] | None = None, vnet_header: bool = True, pairs: int = 1) -> int:
    return features.offered(NetOptions.model_validate({"netdev": "n", **(options or {})}), vnet_header, pairs)


def test_offered_by_default() -> None:
    assert offered() == sum(
        (
            features.CSUM,
            features.GUEST_OFFLOADS,
            features.CTRL_GUEST_OFFLOADS,
            features.MAC,
            features.HOST_TSO4,
            features.HOST_TSO6,
            features.HOST_ECN,
            features.HOST_UFO,
            features.MRG_RXBUF,
            features.STATUS,
            features.CTRL_VQ,
            features.CTRL_RX,
            features.CTRL_VLAN,
            features.CTRL_RX_EXTRA,
            features.GUEST_ANNOUNCE,
            features.CTRL_MAC_ADDR,
        )
    )


def test_offered_to_a_peer_without_headers_nothing_unfinished() -> None:
    assert not offered(vnet_header=False) & (UNFINISHED | features.HOST_ECN | features.CTRL_GUEST_OFFLOADS)


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"csum": False}, features.CSUM | features.HOST_TSO4 | features.HOST_ECN | features.HOST_UFO),
        ({"gso": False}, features.HOST_TSO4 | features.HOST_TSO6 | features.HOST_ECN | features.HOST_UFO),
        ({"guest-csum": False}, features.GUEST_OFFLOADS | features.CTRL_GUEST_OFFLOADS),
        ({"ctrl-vq": False}, features.CTRL_RX | features.CTRL_VLAN | features.GUEST_ANNOUNCE | features.CTRL_MAC_ADDR),
        ({"status": False}, features.STATUS | features.GUEST_ANNOUNCE),
        ({"mrg-rxbuf": False}, features.MRG_RXBUF),
    ],
)
def test_offered_less_by_option(options: dict[str, object], missing: int) -> None:
    assert not offered(options) & missing
    assert offered() & missing == missing


@pytest.mark.parametrize(
    ("options", "pairs", "more"),
    [({"host-mtu": 9000}, 1, features.MTU), ({"speed": 1000}, 1, features.SPEED_DUPLEX), ({}, 2, features.MQ)],
)
def test_offered_more_by_option(options: dict[str, object], pairs: int, more: int) -> None:
    assert offered(options, pairs=pairs) == offered() | more


@given(st.integers(0, (1 << 64) - 1))
def test_consistent_is_stable_and_adds_nothing(bits: int) -> None:
    once = features.consistent(bits)

    assert once & ~bits == 0
    assert features.consistent(once) == once


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mac": "52:54:00"}, "'52:54:00' is not an Ethernet address; write it as 52:54:00:12:34:56"),
        ({"mac": "53:54:00:12:34:56"}, "is a multicast address"),
        ({"rx-queue-size": 300}, "300 is not a power of two"),
        ({"host-mtu": 60}, "60 is below 68"),
        ({"iothread": "a", "iothread-vq-mapping": [{"iothread": "b"}]}, "can't go with iothread"),
    ],
)
def test_options_that_are_wrong_say_so(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetOptions.model_validate({"netdev": "n", **options})
