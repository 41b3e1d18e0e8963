# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.frame import Frame
from asyncemu.net.packets import ethernet, ipv4, udp
from asyncemu.net.packets.pcap import PcapFormat
from tests.net.packets.strategies import CLIENT, MAC, ROUTER_MAC, SERVER

frames = st.binary(min_size=1, max_size=100)


@given(st.lists(st.tuples(st.integers(0, 2**32 * 10**9 - 1), frames), max_size=4), st.integers(1, 120))
def test_record_any_frames_are_read_back_by_dpkt(records: list[tuple[int, bytes]], snap_length: int) -> None:
    written = PcapFormat(snap_length, nanoseconds=True)
    data = written.header() + b"".join(written.record(when, Frame.of(frame)) for when, frame in records)
    reader = dpkt.pcap.Reader(io.BytesIO(data))
    assert (reader.datalink(), reader.snaplen) == (dpkt.pcap.DLT_EN10MB, snap_length)
    assert [frame for _, frame in reader] == [frame[:snap_length] for _, frame in records]


def test_header_in_microseconds_is_that_of_filter_dump() -> None:
    magic, *rest = (0xA1B2C3D4).to_bytes(4, "little"), bytes.fromhex("0200 0400 00000000 00000000 00000100 01000000")
    assert PcapFormat().header() == magic + b"".join(rest)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
@pytest.mark.parametrize(("nanoseconds", "fraction"), [(False, "123456"), (True, "123456789")])
def test_record_is_read_back_by_tcpdump(tmp_path: Path, nanoseconds: bool, fraction: str) -> None:
    datagram = udp.pack(CLIENT, SERVER, 1234, 7, b"hello")
    packet = ipv4.Header(CLIENT, SERVER, udp.PROTOCOL).pack(len(datagram)) + datagram
    frame = Frame.of(ethernet.Header(ROUTER_MAC, MAC, ethernet.IPV4).pack(), packet)
    written = PcapFormat(nanoseconds=nanoseconds)
    path = tmp_path / "one.pcap"
    path.write_bytes(written.header() + written.record(1_123_456_789, frame))
    arguments = ["tcpdump", "-n", "-tt", "-vv", "-r", str(path)]
    if nanoseconds:
        arguments.insert(1, "--nano")
    out = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert f"1.{fraction} IP" in out
    assert "10.0.2.15.1234 > 10.0.2.2.7: [udp sum ok] UDP, length 5" in out
