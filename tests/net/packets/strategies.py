# SPDX-License-Identifier: GPL-2.0-or-later
"""What packets are made of."""

from __future__ import annotations

from hypothesis import strategies as st

macs = st.binary(min_size=6, max_size=6)
ipv4s = st.binary(min_size=4, max_size=4)
ipv6s = st.binary(min_size=16, max_size=16)
bytes8 = st.integers(0, 0xFF)
bytes16 = st.integers(0, 0xFFFF)
bytes32 = st.integers(0, 0xFFFFFFFF)
payloads = st.binary(max_size=200)

#: Not random: what a parser takes for a packet must be one from time to time.
CLIENT = b"\x0a\0\2\x0f"
SERVER = b"\x0a\0\2\2"
CLIENT6 = bytes.fromhex("fec00000000000000000000000000015")
SERVER6 = bytes.fromhex("fec00000000000000000000000000002")
MAC = bytes.fromhex("525400123456")
ROUTER_MAC = bytes.fromhex("52550a000202")
