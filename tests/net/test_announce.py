# SPDX-License-Identifier: GPL-2.0-or-later
"""Announcements: the frame, and when it is sent."""

from __future__ import annotations

from asyncemu.loop import AioContext, Clocks
from asyncemu.net.announce import AnnounceParameters, Announcer, announcement
from asyncemu.testing.fake_clock import FakeClock

MAC = bytes.fromhex("525400123456")


def test_announcement_is_a_reverse_arp_request() -> None:
    from scapy.layers.l2 import ARP, Ether

    frame = Ether(announcement(MAC))

    assert len(announcement(MAC)) == 60
    assert (frame.dst, frame.src, frame.type) == ("ff:ff:ff:ff:ff:ff", "52:54:00:12:34:56", 0x8035)
    arp = ARP(announcement(MAC)[14:])
    assert (arp.op, arp.hwsrc, arp.hwdst, arp.psrc) == (3, "52:54:00:12:34:56", "52:54:00:12:34:56", "0.0.0.0")


def test_pauses_are_those_of_qemus_defaults() -> None:
    parameters = AnnounceParameters(rounds=8)

    assert [parameters.pause_behind(done) for done in range(1, 8)] == [50, 150, 250, 350, 450, 550, 550]


async def test_announcer_announces_once_a_round(context: AioContext) -> None:
    fake = FakeClock()
    clocks = Clocks(fake)
    times: list[int] = []
    announcer = Announcer(context, clocks.realtime, AnnounceParameters(), lambda: times.append(fake.monotonic_ns()))

    announcer.start()
    for _ in range(2000):
        fake.advance(1_000_000)

    assert [time // 1_000_000 for time in times] == [0, 50, 200, 450, 800]


async def test_announcer_cancelled_announces_no_more(context: AioContext) -> None:
    fake = FakeClock()
    times: list[int] = []
    announcer = Announcer(
        context, Clocks(fake).realtime, AnnounceParameters(), lambda: times.append(fake.monotonic_ns())
    )

    announcer.start()
    announcer.cancel()
    fake.advance(10_000_000_000)

    assert times == [0]
