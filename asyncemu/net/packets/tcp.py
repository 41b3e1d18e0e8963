# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP segments: RFC 9293, 3.1; options: RFC 9293, 3.2 (MSS), RFC 7323 (window scale, timestamps), RFC 2018 (SACK)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.net.packets import ipv4
from asyncemu.net.packets.checksum import Data
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.tcp.segment import Segment

_HEADER: Final = struct.Struct("!HHIIHHHH")

#: Bytes without options, and with as many as there can be.
HEADER_LENGTH: Final = 20
MAX_HEADER_LENGTH: Final = 60

PROTOCOL: Final = ipv4.TCP

#: Control bits beside those of tcp.segment: RFC 3168, 6.1.
ECE: Final = 0x40
CWR: Final = 0x80

# Where the checksum is in the header.
_CHECKSUM: Final = 16

#: Kinds of options.
_END: Final = 0
_NOP: Final = 1
_MSS: Final = 2
_WINDOW_SCALE: Final = 3
_SACK_PERMITTED: Final = 4
_SACK: Final = 5
_TIMESTAMPS: Final = 8

#: RFC 7323, 2.3: a larger shift is taken as this.
MAX_WINDOW_SCALE: Final = 14
#: What fits in the option space: RFC 2018, 3.
MAX_SACK_BLOCKS: Final = 4

# The whole option space of nearly all segments: RFC 7323, appendix A.
_ALIGNED_TIMESTAMPS: Final = 0x0101080A
_TIMESTAMPS_ONLY: Final = struct.Struct("!III")
_MSS_OPTION: Final = struct.Struct("!BBH")
_TIMESTAMPS_OPTION: Final = struct.Struct("!II")


class Header(NamedTuple):
    """``start``: where the data begins in what was parsed; it reaches to the packet's end."""

    source_port: int
    destination_port: int
    segment: Segment
    start: int


_new = tuple.__new__


def parse(data: bytes, start: int = 0, end: int | None = None) -> Header:
    """The segment at ``start`` of a payload that reaches to ``end``; the checksum is not looked at. Raises Malformed.

    ``data`` may hold no more than the header with its options. The urgent pointer is not kept: RFC 6093, 5.
    """
    if end is None:
        end = len(data)
    if end - start < HEADER_LENGTH or len(data) - start < HEADER_LENGTH:
        raise Malformed("TCP header is cut")
    source_port, destination_port, sequence, acknowledgment, bits, window, _, _ = _HEADER.unpack_from(data, start)
    options = start + HEADER_LENGTH
    payload = start + (bits >> 12 << 2)
    if payload == options:
        segment = _new(Segment, (sequence, acknowledgment, bits & 0xFF, window, None, None, False, None, ()))
        return _new(Header, (source_port, destination_port, segment, payload))
    if payload < options:
        raise Malformed("TCP data offset is less than a header's")
    if payload > end or payload > len(data):
        raise Malformed("TCP options are cut")
    if payload - options == 12:
        first, value, echo = _TIMESTAMPS_ONLY.unpack_from(data, options)
        if first == _ALIGNED_TIMESTAMPS:
            segment = _new(
                Segment, (sequence, acknowledgment, bits & 0xFF, window, None, None, False, (value, echo), ())
            )
            return _new(Header, (source_port, destination_port, segment, payload))
    segment = _with_options(Segment(sequence, acknowledgment, bits & 0xFF, window), data[options:payload])
    return Header(source_port, destination_port, segment, payload)


def _with_options(segment: Segment, options: bytes) -> Segment:
    """``segment`` with what ``options`` say: RFC 9293, 3.2. Of an option that is there twice, the last one counts."""
    mss, window_scale, sack_permitted, timestamps, sack = segment[4:]
    position = 0
    while position < len(options):
        kind = options[position]
        if kind == _END:
            break
        if kind == _NOP:
            position += 1
            continue
        length = options[position + 1] if position + 1 < len(options) else 0
        value = options[position + 2 : position + length]
        if length < 2:
            raise Malformed("TCP option without a length")
        if len(value) != length - 2:
            raise Malformed("TCP option reaches past the end of the header")
        position += length
        # One of a length that it can't have is skipped as one that we don't know: RFC 9293, 3.1 (MUST-6).
        if kind == _MSS and length == 4:
            mss = int.from_bytes(value, "big")
        elif kind == _WINDOW_SCALE and length == 3:
            window_scale = min(value[0], MAX_WINDOW_SCALE)
        elif kind == _SACK_PERMITTED and length == 2:
            sack_permitted = True
        elif kind == _TIMESTAMPS and length == 10:
            timestamps = _TIMESTAMPS_OPTION.unpack(value)
        elif kind == _SACK and length > 2 and length % 8 == 2:
            edges = struct.unpack(f"!{len(value) // 4}I", value)
            sack = tuple(zip(edges[::2], edges[1::2], strict=True))
    return segment._replace(
        mss=mss, window_scale=window_scale, sack_permitted=sack_permitted, timestamps=timestamps, sack=sack
    )


def _options(segment: Segment) -> bytes:
    """The options of ``segment``, padded to whole words. ValueError: they are more than fits."""
    _, _, _, _, mss, window_scale, sack_permitted, timestamps, sack = segment
    options = b""
    if mss is not None:
        options += _MSS_OPTION.pack(_MSS, 4, mss)
    if sack_permitted:
        options += b"\4\2" if timestamps is not None else b"\1\1\4\2"
    if timestamps is not None:
        # Aligned as RFC 7323, appendix A says, or behind SACK permitted, which is as long as the padding.
        options += (b"\x08\x0a" if sack_permitted else b"\1\1\x08\x0a") + _TIMESTAMPS_OPTION.pack(*timestamps)
    if window_scale is not None:
        options += b"\1\3\3" + bytes((window_scale,))
    if sack:
        options += bytes((_NOP, _NOP, _SACK, 2 + 8 * len(sack)))
        for left, right in sack:
            options += _TIMESTAMPS_OPTION.pack(left, right)
    if len(options) > MAX_HEADER_LENGTH - HEADER_LENGTH:
        raise ValueError(f"{len(options)} bytes of TCP options")
    return options


def header_length(segment: Segment) -> int:
    """Bytes of the header with the options of ``segment``. ValueError: they are more than fits."""
    return HEADER_LENGTH + len(_options(segment))


def pack_header(source_port: int, destination_port: int, segment: Segment, checksum: int = 0) -> bytes:
    """The header with its options. ValueError: the options are more than fits.

    ``checksum``: of the whole, or the folded sum of the pseudo header, for who takes NEEDS_CHECKSUM.
    """
    sequence, acknowledgment, flags, window, mss, window_scale, sack_permitted, timestamps, sack = segment
    if mss is None and window_scale is None and not sack_permitted and not sack:
        # The two forms of nearly all segments.
        if timestamps is None:
            return _HEADER.pack(
                source_port, destination_port, sequence, acknowledgment, 0x5000 | flags, window, checksum, 0
            )
        return _HEADER.pack(
            source_port, destination_port, sequence, acknowledgment, 0x8000 | flags, window, checksum, 0
        ) + _TIMESTAMPS_ONLY.pack(_ALIGNED_TIMESTAMPS, *timestamps)
    options = _options(segment)
    bits = (HEADER_LENGTH + len(options)) << 10 | flags
    return _HEADER.pack(source_port, destination_port, sequence, acknowledgment, bits, window, checksum, 0) + options


def pack(source: bytes, destination: bytes, ports: tuple[int, int], segment: Segment, payload: Data = b"") -> bytes:
    """The whole segment from the first port to the second, with its checksum, between addresses of 4 or 16 bytes."""
    header = pack_header(*ports, segment)
    whole = b"".join((header, payload))
    number = int.from_bytes(whole, "big")
    if len(whole) & 1:
        number <<= 8
    # The pseudo header: RFC 9293, 3.1; RFC 8200, 8.1.
    number += int.from_bytes(source + destination, "big") + PROTOCOL + len(whole)
    value = 65535 - (number % 65535 or 65535)
    return b"".join((header[:_CHECKSUM], value.to_bytes(2, "big"), whole[_CHECKSUM + 2 :]))
