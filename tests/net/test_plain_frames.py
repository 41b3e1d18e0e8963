# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames finished for whoever takes plain ones."""

from __future__ import annotations

from asyncemu.net.frame import GSO_TCPV4, NEEDS_CHECKSUM, PLAIN, Frame, VnetHeader
from asyncemu.net.plain_frames import plain
from tests.net.frames import is_whole, payload_of, unfinished


def test_plain_frame_stays_as_it_is() -> None:
    frames = [Frame.of(bytes(60)), Frame.of(bytes(60), vnet=VnetHeader())]

    assert [list(plain(frame)) for frame in frames] == [[frame] for frame in frames]


def test_plain_checksum_is_filled_in() -> None:
    (frame,) = plain(unfinished(b"x" * 500, gso=False))

    assert frame.vnet is PLAIN
    assert is_whole(frame.tobytes())


def test_plain_segment_is_cut() -> None:
    payload = bytes(range(250)) * 10

    frames = [frame.tobytes() for frame in plain(unfinished(payload))]

    assert b"".join(map(payload_of, frames)) == payload
    assert [len(payload_of(frame)) for frame in frames] == [1000, 1000, 500]
    assert all(map(is_whole, frames))


def test_plain_header_that_does_not_fit_leaves_nothing() -> None:
    assert not plain(Frame.of(bytes(60), vnet=VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4, 0, 100, 34, 16)))
