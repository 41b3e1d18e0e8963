# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import (
    DATA_VALID,
    GSO_ECN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP,
    GSO_UDP_L4,
    NEEDS_CHECKSUM,
    Frame,
    VnetHeader,
)
from asyncemu.net.packets import checksum, ethernet, fragments, ipv4, ipv6, offload, tcp, udp
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.tcp.segment import ACK, FIN, PSH, Segment
from tests.net.packets.strategies import CLIENT, CLIENT6, MAC, ROUTER_MAC, SERVER, SERVER6

ADDRESSES = {4: (CLIENT, SERVER), 6: (CLIENT6, SERVER6)}
SEGMENT = Segment(0xFFFFFF00, 2, ACK | PSH | FIN | tcp.CWR, 1000, timestamps=(1, 2))


def link(version: int) -> bytes:
    return ethernet.Header(ROUTER_MAC, MAC, ethernet.IPV4 if version == 4 else ethernet.IPV6).pack()


def ip(version: int, protocol: int, length: int) -> bytes:
    if version == 4:
        return ipv4.Header(CLIENT, SERVER, protocol, identification=0xFFFF).pack(length)
    return ipv6.Header(CLIENT6, SERVER6, protocol).pack(length)


def partial_sum(version: int, protocol: int, length: int) -> int:
    """What the guest leaves in the place of a checksum."""
    return checksum.add(b"", checksum.pseudo_header(*ADDRESSES[version], protocol, length))


def tcp_frame(version: int, payload: bytes, segment: Segment = SEGMENT, **vnet: int) -> Frame:
    """As a guest sends it: only the pseudo header is summed up. Views of odd lengths."""
    length = tcp.header_length(segment) + len(payload)
    head = link(version) + ip(version, tcp.PROTOCOL, length)
    transport = tcp.pack_header(1, 2, segment, partial_sum(version, tcp.PROTOCOL, length))
    header = VnetHeader(NEEDS_CHECKSUM, checksum_start=len(head), checksum_offset=16)._replace(**vnet)
    return Frame.of(head[:7], head[7:], transport, payload[:1], payload[1:], vnet=header)


def udp_frame(version: int, payload: bytes, **vnet: int) -> Frame:
    length = udp.HEADER_LENGTH + len(payload)
    head = link(version) + ip(version, udp.PROTOCOL, length)
    transport = udp.pack_header(1, 2, len(payload), partial_sum(version, udp.PROTOCOL, length))
    header = VnetHeader(NEEDS_CHECKSUM, checksum_start=len(head), checksum_offset=6)._replace(**vnet)
    return Frame.of(head, transport, payload, vnet=header)


def is_right(frame: Frame, version: int) -> bool:
    """All checksums and lengths, for a receiver without offloads."""
    data = frame.tobytes()
    header: ipv4.Header | ipv6.Header = ipv4.parse(data, 14) if version == 4 else ipv6.parse(data, 14)
    assert header.end == len(data)
    return checksum.is_right(header.source, header.destination, header.protocol, data[header.start :])


@pytest.mark.parametrize("version", [4, 6])
@given(payload=st.binary(max_size=50))
def test_finish_tcp_without_checksum_gets_it(version: int, payload: bytes) -> None:
    [finished] = offload.finish(tcp_frame(version, payload))
    assert is_right(finished, version)
    assert (finished.vnet, finished.tobytes()[-len(payload) :] if payload else b"") == (VnetHeader(), payload)


@pytest.mark.parametrize("version", [4, 6])
@given(payload=st.binary(max_size=50))
def test_finish_udp_without_checksum_is_what_pack_makes(version: int, payload: bytes) -> None:
    [finished] = offload.finish(udp_frame(version, payload))
    assert finished.tobytes().endswith(udp.pack(*ADDRESSES[version], 1, 2, payload))


def test_finish_memory_of_the_guest_is_not_written_to() -> None:
    frame = tcp_frame(4, b"payload")
    before = frame.tobytes()
    offload.finish(frame)
    assert frame.tobytes() == before


def test_finish_plain_frame_is_the_same() -> None:
    frame = Frame.of(b"frame")
    assert offload.finish(frame)[0] is frame


def test_finish_valid_frame_has_no_flag() -> None:
    frame = Frame.of(b"frame", vnet=VnetHeader(DATA_VALID))
    assert offload.finish(frame)[0].vnet == VnetHeader()


@pytest.mark.parametrize(("version", "kind"), [(4, GSO_TCPV4), (6, GSO_TCPV6)])
@given(payload=st.binary(min_size=1, max_size=300), size=st.integers(1, 300))
def test_finish_tcp_segments_carry_the_same_bytes(version: int, kind: int, payload: bytes, size: int) -> None:
    segments = offload.finish(tcp_frame(version, payload, gso_type=kind, gso_size=size))
    data = b""
    for frame in segments:
        assert is_right(frame, version)
        raw = frame.tobytes()
        header = tcp.parse(raw, 34 if version == 4 else 54)
        assert header.segment.sequence == (SEGMENT.sequence + len(data)) & 0xFFFFFFFF
        assert header.segment.timestamps == (1, 2)
        data += raw[header.start :]
    assert data == payload
    assert len(segments) == -(-len(payload) // size)


def test_finish_tcp_flags_stand_where_they_belong() -> None:
    frame = tcp_frame(4, bytes(250), gso_type=GSO_TCPV4 | GSO_ECN, gso_size=100)
    flags = [tcp.parse(each.tobytes(), 34).segment.flags for each in offload.finish(frame)]
    assert flags == [ACK | tcp.CWR, ACK, ACK | PSH | FIN]


def test_finish_tcp_identification_goes_on_and_wraps() -> None:
    frame = tcp_frame(4, bytes(250), gso_type=GSO_TCPV4, gso_size=100)
    assert [ipv4.parse(each.tobytes(), 14).identification for each in offload.finish(frame)] == [0xFFFF, 0, 1]


def test_finish_tcp_size_more_than_the_mtu_fits_it() -> None:
    frame = tcp_frame(4, bytes(4000), gso_type=GSO_TCPV4, gso_size=1460)
    assert max(each.nbytes for each in offload.finish(frame, 1400)) == 14 + 1400


def test_finish_tcp_behind_a_vlan_tag_keeps_it() -> None:
    frame = tcp_frame(4, bytes(250), gso_type=GSO_TCPV4, gso_size=100)
    data = frame.tobytes()
    tagged = Frame.of(data[:12] + bytes.fromhex("81000005") + data[12:], vnet=frame.vnet)
    segments = [each.tobytes() for each in offload.finish(tagged)]
    assert [each[12:16] for each in segments] == [bytes.fromhex("81000005")] * 3
    assert b"".join(each[18 + 52 :] for each in segments) == bytes(250)


def test_finish_tcp_64_kib_is_read_by_scapy(scapy: Any) -> None:
    payload = bytes(range(251)) * 250
    frames = offload.finish(tcp_frame(6, payload, gso_type=GSO_TCPV6, gso_size=1428))
    packets = [scapy.Ether(frame.tobytes()) for frame in frames]
    rebuilt = packets[7].copy()
    del rebuilt[scapy.TCP].chksum, rebuilt[scapy.IPv6].plen
    assert bytes(rebuilt) == bytes(packets[7])
    assert b"".join(bytes(packet[scapy.TCP].payload) for packet in packets) == payload


@pytest.mark.parametrize("version", [4, 6])
def test_finish_udp_segments_are_datagrams(version: int) -> None:
    frames = offload.finish(udp_frame(version, b"abcdefgh", gso_type=GSO_UDP_L4, gso_size=3))
    datagrams = [frame.tobytes()[34 if version == 4 else 54 :] for frame in frames]
    assert datagrams == [udp.pack(*ADDRESSES[version], 1, 2, part) for part in (b"abc", b"def", b"gh")]
    assert all(is_right(frame, version) for frame in frames)


@pytest.mark.parametrize("version", [4, 6])
def test_finish_udp_of_the_old_type_is_fragments(version: int) -> None:
    payload = bytes(range(256)) * 10
    frames = offload.finish(udp_frame(version, payload, gso_type=GSO_UDP, gso_size=1480))
    table = fragments.Reassembly()
    whole = None
    for frame in frames:
        data = frame.tobytes()
        if version == 4:
            whole = table.add_ipv4(ipv4.parse(data, 14), data, 0)
        else:
            whole = table.add_ipv6(ipv6.parse(data, 14), data, 0)
    assert whole == (udp.PROTOCOL, udp.pack(*ADDRESSES[version], 1, 2, payload))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (Frame.of(bytes(60), vnet=VnetHeader(NEEDS_CHECKSUM, checksum_start=50, checksum_offset=9)), "behind the end"),
        (Frame.of(bytes(60), vnet=VnetHeader(gso_type=2, gso_size=100)), "unknown type"),
        (Frame.of(bytes(60), vnet=VnetHeader(gso_type=GSO_TCPV4, gso_size=100)), "not IP"),
        (Frame.of(bytes(60), vnet=VnetHeader(gso_type=GSO_UDP, gso_size=100)), "not IP"),
        (Frame.of(bytes(5), vnet=VnetHeader(gso_type=GSO_TCPV4, gso_size=100)), "shorter"),
        (tcp_frame(4, bytes(9), gso_type=GSO_TCPV4, gso_size=0), "too small"),
        (tcp_frame(4, bytes(5000), gso_type=GSO_TCPV4, gso_size=2), "too small"),
        (tcp_frame(6, bytes(9), gso_type=GSO_TCPV4, gso_size=5), "another version"),
        (tcp_frame(4, bytes(9), gso_type=GSO_TCPV6, gso_size=5), "another version"),
        (tcp_frame(4, bytes(9), gso_type=GSO_UDP_L4, gso_size=5), "another protocol"),
        (tcp_frame(4, bytes(9), gso_type=GSO_UDP, gso_size=5), "another protocol"),
        (tcp_frame(6, bytes(9), gso_type=GSO_UDP, gso_size=5), "another protocol"),
        (udp_frame(4, bytes(4000), gso_type=GSO_UDP_L4, gso_size=2000), "longer than the MTU"),
    ],
)
def test_finish_header_does_not_fit_the_packet_says_why(frame: Frame, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        offload.finish(frame)


@given(
    st.binary(max_size=100),
    st.sampled_from((0, GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4, 7, 0x81)),
    st.integers(0, 1),
    st.integers(0, 65535),
    st.integers(0, 120),
    st.integers(0, 65535),
)
def test_finish_any_frame_is_malformed_or_plain(
    rest: bytes, kind: int, flags: int, size: int, start: int, offset: int
) -> None:
    data = link(4) + ip(4, 6, len(rest)) + rest
    frame = Frame(Buffers.of(data), VnetHeader(flags, kind, 0, size, start, offset % 120))
    try:
        finished = offload.finish(frame)
    except Malformed:
        return
    assert all(each.vnet == VnetHeader() for each in finished)


def test_finish_plain_segmentation_of_one_segment_is_one_frame() -> None:
    [finished] = offload.finish(tcp_frame(4, b"", gso_type=GSO_TCPV4, gso_size=100))
    assert is_right(finished, 4)
    assert tcp.parse(finished.tobytes(), 34).segment.flags == SEGMENT.flags
