# SPDX-License-Identifier: GPL-2.0-or-later
"""The control queue: 5.1.6.5."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.events import NicRxFilterChanged
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.rx_filter_info import RxFilterInfo
from asyncemu.testing import DeviceBench
from asyncemu.testing.memory_wire import Offloads
from asyncemu.virtio.defs import F_VERSION_1
from asyncemu.virtio.net import control, features
from asyncemu.virtio.net.config import ANNOUNCE, LINK_UP
from asyncemu.virtio.net.control import (
    AddressTables,
    AnnounceDone,
    ReceiveMode,
    SetAddress,
    SetOffloads,
    SetPairs,
    SetVlan,
    is_negotiated,
    parse_command,
)
from asyncemu.virtio.net.receive_filter import ReceiveFilter
from tests.virtio.net.conftest import MAC, UNICAST, Card, MakeCard

OK, ERROR = 0, 1
OTHER = bytes.fromhex("525400999999")
GROUP = bytes.fromhex("01005e000001")


def table(*addresses: bytes) -> bytes:
    return struct.pack("<I", len(addresses)) + b"".join(addresses)


# ---- commands as values


@pytest.mark.parametrize(
    ("kind", "command", "data", "expected"),
    [
        (0, 0, b"\1", ReceiveMode("promiscuous", True)),
        (0, 1, b"\0", ReceiveMode("all_multicast", False)),
        (0, 2, b"\2rest", ReceiveMode("all_unicast", True)),
        (0, 5, b"\1", ReceiveMode("no_broadcast", True)),
        (1, 0, table(OTHER) + table(GROUP), AddressTables([OTHER], [GROUP])),
        (1, 1, OTHER, SetAddress(OTHER)),
        (2, 0, b"\x07\x00", SetVlan(7, True)),
        (2, 1, b"\xff\x0f", SetVlan(4095, False)),
        (3, 0, b"", AnnounceDone()),
        (4, 0, b"\2\0", SetPairs(2)),
        (5, 0, bytes([2]) + bytes(7), SetOffloads(2)),
    ],
)
def test_parse_command_good(kind: int, command: int, data: bytes, expected: control.Command) -> None:
    assert parse_command(kind, command, data) == expected


@pytest.mark.parametrize(
    ("kind", "command", "data", "problem"),
    [
        (0, 0, b"", "a command of 0 bytes"),
        (0, 6, b"\1", "command 6 of class 0"),
        (1, 0, b"\1\0\0", "a command of 3 bytes"),
        (1, 0, struct.pack("<I", 0xFFFFFFFF) + OTHER, "a table of 4294967295 addresses in 10 bytes"),
        (1, 0, table(OTHER), "a command of 0 bytes"),
        (1, 0, table() + table() + b"x", "bytes behind the address tables"),
        (1, 1, OTHER + b"x", "an address of 7 bytes"),
        (2, 0, b"\x00\x10", "VLAN 4096"),
        (2, 0, b"\x00", "a command of 1 bytes"),
        (4, 0, b"\x01", "a command of 1 bytes"),
        (5, 0, bytes(7), "a command of 7 bytes"),
        (99, 0, b"", "command 0 of class 99"),
    ],
)
def test_parse_command_bad_is_malformed(kind: int, command: int, data: bytes, problem: str) -> None:
    with pytest.raises(Malformed, match=problem):
        parse_command(kind, command, data)


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=200), st.integers(0, (1 << 64) - 1))
def test_parse_command_any_bytes_is_a_command_or_malformed(kind: int, command: int, data: bytes, bits: int) -> None:
    with suppress(Malformed):
        assert is_negotiated(parse_command(kind, command, data), bits) in (True, False)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just(0), st.integers(0, 6), st.binary(max_size=2)),
            st.tuples(st.just(1), st.integers(0, 2), st.binary(max_size=40)),
            st.tuples(st.just(2), st.integers(0, 2), st.binary(max_size=3)),
        ),
        max_size=30,
    ),
    st.binary(min_size=14, max_size=16),
)
def test_filter_after_any_commands_answers_for_any_frame(commands: list[tuple[int, int, bytes]], head: bytes) -> None:
    filter = ReceiveFilter(MAC)
    for kind, number, data in commands:
        with suppress(Malformed):
            match parse_command(kind, number, data):
                case ReceiveMode(field, on):
                    filter = filter.with_mode(field, on)
                case AddressTables(unicast, multicast):
                    filter = filter.with_tables(unicast, multicast)
                case SetVlan(vlan, wanted):
                    filter = filter.with_vlan(vlan, wanted)

    assert filter.accepts(head) in (True, False)
    assert len(filter.unicast) + len(filter.multicast) <= 64


# ---- commands to a card


async def received(card: Card, *frames: bytes) -> list[bytes]:
    """Which of ``frames`` the guest gets."""
    await card.offer(*[1536] * len(frames))
    # Of a call before this one there may be some left.
    buffers = list(card.receiveq.outstanding.values())
    before = card.receiveq.used_index
    card.netdev.feed(*frames)
    count = card.receiveq.used_index - before
    await card.receiveq.done(*buffers[:count])
    return [each.answer[12:] for each in buffers[:count]]


def to(destination: bytes, tag: bytes = b"\x08\x00") -> bytes:
    return destination + UNICAST[6:12] + tag + bytes(48)


async def test_promiscuous_off_lets_in_what_is_for_the_card(card: Card) -> None:
    answer = await card.command(0, 0, b"\0")

    assert answer == OK
    assert await received(card, to(OTHER), to(MAC), to(GROUP), to(b"\xff" * 6)) == [to(MAC), to(b"\xff" * 6)]


async def test_address_tables_let_in_more(card: Card) -> None:
    await card.command(0, 0, b"\0")

    answer = await card.command(1, 0, table(OTHER) + table(GROUP))

    assert answer == OK
    assert await received(card, to(OTHER), to(GROUP)) == [to(OTHER), to(GROUP)]


async def test_address_set_is_what_is_let_in_and_shown(card: Card) -> None:
    await card.command(0, 0, b"\0")

    answer = await card.command(1, 1, OTHER)

    assert (answer, bytes((await card.config()).mac)) == (OK, OTHER)
    assert await received(card, to(MAC), to(OTHER)) == [to(OTHER)]


async def test_vlans_are_let_in_one_by_one(card: Card) -> None:
    await card.command(0, 0, b"\0")
    tagged = [to(MAC, b"\x81\x00\x00" + bytes([vlan])) for vlan in (1, 2)]

    before = await received(card, *tagged)
    answer = await card.command(2, 0, b"\2\0")

    assert (before, answer) == ([], OK)
    assert await received(card, *tagged) == tagged[1:]


async def test_vlans_all_are_let_in_where_the_driver_knows_none(make_card: MakeCard) -> None:
    card = await make_card(F_VERSION_1 | features.CTRL_VQ | features.CTRL_RX)
    await card.command(0, 0, b"\0")
    tagged = to(MAC, b"\x81\x00\x00\x05")

    assert await received(card, tagged) == [tagged]


async def test_what_is_let_in_is_told_as_qemu_tells_it(card: Card) -> None:
    await card.command(0, 0, b"\0")
    await card.command(0, 3, b"\1")
    await card.command(0, 2, b"\1")
    await card.command(0, 5, b"\1")
    await card.command(1, 0, table(OTHER, MAC) + table(*(bytes([1, 0, 0, 0, 0, last]) for last in range(64))))
    await card.command(2, 0, b"\5\0")
    await card.command(2, 0, b"\7\0")

    assert card.device.rx_filter() == RxFilterInfo(
        name=card.device.id,
        promiscuous=False,
        multicast="none",
        unicast="all",
        vlan="normal",
        broadcast_allowed=False,
        multicast_overflow=True,
        unicast_overflow=False,
        main_mac="52:54:00:12:34:56",
        vlan_table=[7, 5],
        unicast_table=["52:54:00:12:34:56", "52:54:00:99:99:99"],
        multicast_table=[],
    )


async def test_no_vlan_let_in_is_none(card: Card) -> None:
    info = card.device.rx_filter()

    assert (info.vlan, info.vlan_table) == ("none", [])


async def test_change_of_what_is_let_in_is_told_once_until_somebody_asks(bench: DeviceBench, card: Card) -> None:
    counts = []
    for asked in (False, False, True):
        if asked:
            card.device.rx_filter()
        await card.command(0, 1, b"\1")
        counts.append(len(bench.platform.events))

    assert counts == [1, 1, 2]
    id = card.device.id
    assert bench.platform.events[0] == NicRxFilterChanged(name=id, path=f"/machine/peripheral/{id}")


async def test_reset_takes_back_what_the_driver_has_set(card: Card) -> None:
    await card.command(0, 0, b"\0")
    await card.command(1, 1, OTHER)

    await card.driver.start()

    assert bytes((await card.config()).mac) == MAC
    assert await received(card, to(OTHER), to(MAC)) == [to(OTHER), to(MAC)]


async def test_offloads_are_told_to_the_peer(card: Card) -> None:
    at_first = card.netdev.offloads

    answer = await card.command(5, 0, struct.pack("<Q", features.GUEST_CSUM | features.GUEST_TSO6))

    assert at_first == Offloads(True, True, True, True, True)
    assert (answer, card.netdev.offloads) == (OK, Offloads(True, False, True, False, False))


async def test_offloads_of_a_driver_that_takes_none_are_none(make_card: MakeCard) -> None:
    card = await make_card(F_VERSION_1)

    assert card.netdev.offloads == Offloads(False, False, False, False, False)


async def test_offloads_end_with_a_reset(card: Card) -> None:
    await card.driver.reset()

    assert card.netdev.offloads == Offloads(False, False, False, False, False)


async def test_offloads_that_were_not_negotiated_are_refused(card: Card) -> None:
    assert await card.command(5, 0, struct.pack("<Q", features.HOST_TSO4)) == ERROR


async def test_announce_bit_is_set_and_acknowledged(card: Card) -> None:
    changes = card.driver.config_changes
    card.device.announce()
    await card.driver.interrupts_until(lambda: card.driver.config_changes > changes)
    announced = (await card.config()).status

    answer = await card.command(3, 0)

    assert announced == LINK_UP | ANNOUNCE
    assert (answer, (await card.config()).status) == (OK, LINK_UP)
    assert card.netdev.frames[0][6:14] == MAC + b"\x80\x35"


async def test_announce_ack_without_announcement_is_refused(card: Card) -> None:
    assert await card.command(3, 0) == ERROR


@pytest.mark.parametrize(
    ("kind", "command", "data"),
    [
        (0, 0, b"\1"),
        (0, 3, b"\1"),
        (1, 0, table() * 2),
        (1, 1, OTHER),
        (2, 0, b"\1\0"),
        (4, 0, b"\1\0"),
        (5, 0, bytes(8)),
    ],
)
async def test_command_of_a_feature_that_was_not_negotiated_is_refused(
    make_card: MakeCard, kind: int, command: int, data: bytes
) -> None:
    card = await make_card(F_VERSION_1 | features.CTRL_VQ)

    assert await card.command(kind, command, data) == ERROR


async def test_command_that_is_malformed_is_refused_and_the_next_one_works(card: Card) -> None:
    refused = await card.command(1, 0, b"\xff\xff\xff\xff")

    assert (refused, await card.command(0, 0, b"\1")) == (ERROR, OK)


async def test_command_of_many_bytes_is_refused_unread(card: Card) -> None:
    table_of_all = struct.pack("<I", 20000) + bytes(120000)

    assert await card.command(1, 0, table_of_all + table()) == ERROR


@pytest.mark.parametrize(("readable", "writable"), [([b"\0"], [1]), ([b"\0\0\0"], [])])
async def test_command_without_class_or_room_needs_a_reset(
    card: Card, readable: list[bytes], writable: list[int]
) -> None:
    card.controlq.add(readable, writable)
    await card.controlq.kick()

    await card.driver.wait_needs_reset()
