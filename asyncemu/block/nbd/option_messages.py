# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of the handshake: option requests, option replies, and what is in them. Spec: proto.md, "Handshake phase".

``OptionData`` is the checked view over bytes that a peer has sent; the NamedTuples are the values. Strings are UTF-8;
what is not survives a round trip through str (surrogates), as QEMU gives names back that it does not understand.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from asyncemu.block.nbd.constants import (
    INFO_BLOCK_SIZE,
    INFO_DESCRIPTION,
    INFO_EXPORT,
    INFO_NAME,
    MAX_STRING_SIZE,
    OPTION_NAMES,
    OPTS_MAGIC,
    REP_MAGIC,
)

#: Magic, option, length of the data.
OPTION_HEADER: Final = Struct(">QII")
#: Magic, option, reply type, length of the data.
REPLY_HEADER: Final = Struct(">QIII")

_U16: Final = Struct(">H")
_U32: Final = Struct(">I")
_EXPORT: Final = Struct(">HQH")
_BLOCK_SIZE: Final = Struct(">HIII")


class InvalidOption(Exception):
    """The data of an option, or of a reply to one, is not what the spec says; the text is for the peer."""


def encode_text(text: str) -> bytes:
    """As it goes over the wire."""
    return text.encode("utf-8", "surrogateescape")


def decode_text(data: bytes) -> str:
    """As it came; see the top."""
    return data.decode("utf-8", "surrogateescape")


def option_name(option: int) -> str:
    """As QEMU writes it."""
    return OPTION_NAMES.get(option, "<unknown>")


class OptionData:
    """A cursor over the data of one option or reply. All methods raise InvalidOption when there is less."""

    def __init__(self, data: bytes, option: int) -> None:
        self._data = data
        self._position = 0
        self._option = option

    @property
    def left(self) -> int:
        """Bytes behind the cursor."""
        return len(self._data) - self._position

    def take(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        if length > self.left:
            raise InvalidOption(f"Inconsistent lengths in option {option_name(self._option)}")
        start = self._position
        self._position += length
        return self._data[start : self._position]

    def u16(self) -> int:
        """Two bytes, big-endian."""
        return int(_U16.unpack(self.take(2))[0])

    def u32(self) -> int:
        """Four bytes, big-endian."""
        return int(_U32.unpack(self.take(4))[0])

    def export_name(self) -> str:
        """A length and so many bytes, at most MAX_STRING_SIZE."""
        length = self.u32()
        if length > MAX_STRING_SIZE:
            raise InvalidOption(f"Invalid name length: {length}")
        return decode_text(self.take(length))

    def query(self) -> str | None:
        """As ``export_name``; None for one that is too long to mean anything."""
        length = self.u32()
        text = self.take(length)
        return decode_text(text) if length <= MAX_STRING_SIZE else None

    def end(self) -> None:
        """There must be no more."""
        if self.left:
            raise InvalidOption(f"option '{option_name(self._option)}' has unexpected length")


# ---- requests


class InfoRequest(NamedTuple):
    """Data of OPT_INFO and OPT_GO."""

    export: str
    #: INFO_* that the client asks for.
    information: tuple[int, ...] = ()

    @classmethod
    def decode(cls, data: bytes, option: int) -> InfoRequest:
        """InvalidOption when it is none."""
        cursor = OptionData(data, option)
        export = cursor.export_name()
        information = tuple(cursor.u16() for _ in range(cursor.u16()))
        cursor.end()
        return cls(export, information)

    def encode(self) -> bytes:
        """As it goes over the wire."""
        kinds = b"".join(map(_U16.pack, self.information))
        return _counted(self.export) + _U16.pack(len(self.information)) + kinds


class MetaContextRequest(NamedTuple):
    """Data of OPT_LIST_META_CONTEXT and OPT_SET_META_CONTEXT."""

    export: str
    queries: tuple[str, ...] = ()

    @classmethod
    def decode(cls, data: bytes, option: int) -> MetaContextRequest:
        """Without the queries that are too long. InvalidOption when it is none."""
        cursor = OptionData(data, option)
        export = cursor.export_name()
        # Each query has a length of four bytes: the data bounds the loop, whatever the count says.
        queries = [cursor.query() for _ in range(cursor.u32())]
        cursor.end()
        return cls(export, tuple(query for query in queries if query is not None))

    def encode(self) -> bytes:
        """As it goes over the wire."""
        return _counted(self.export) + _U32.pack(len(self.queries)) + b"".join(map(_counted, self.queries))


def option_request(option: int, data: bytes = b"") -> bytes:
    """What a client sends for an option."""
    return OPTION_HEADER.pack(OPTS_MAGIC, option, len(data)) + data


# ---- replies


class BlockSizes(NamedTuple):
    """Payload of INFO_BLOCK_SIZE, in bytes. Spec: proto.md, "Block size constraints"."""

    minimum: int = 1
    preferred: int = 4096
    maximum: int = 0xFFFFFFFF

    def check(self) -> None:
        """InvalidOption when a server must not ask for that."""
        minimum, preferred, maximum = self
        if not _is_power_of_two(minimum):
            raise InvalidOption(f"server minimum block size {minimum} is not a power of two")
        if minimum > 1 << 16:
            raise InvalidOption(f"server minimum block size {minimum} is too large")
        if not _is_power_of_two(preferred) or preferred < minimum:
            raise InvalidOption(f"server preferred block size {preferred} is not valid")
        if maximum < minimum or (maximum % minimum and maximum != 0xFFFFFFFF):
            raise InvalidOption(f"server maximum block size {maximum} is not valid")


class ExportInformation(NamedTuple):
    """What the replies to OPT_INFO or OPT_GO say about an export, together."""

    size: int
    #: FLAG_* of the transmission.
    flags: int
    name: str | None = None
    description: str = ""
    block_sizes: BlockSizes | None = None


class ListedExport(NamedTuple):
    """Data of REP_SERVER."""

    name: str
    description: str = ""

    @classmethod
    def decode(cls, data: bytes, option: int) -> ListedExport:
        """InvalidOption when it is none."""
        cursor = OptionData(data, option)
        try:
            name = cursor.export_name()
        except InvalidOption:
            raise InvalidOption("incorrect name length in server's list response") from None
        return cls(name, decode_text(cursor.take(min(cursor.left, MAX_STRING_SIZE))))

    def encode(self) -> bytes:
        """As it goes over the wire."""
        return _counted(self.name) + encode_text(self.description)


class MetaContext(NamedTuple):
    """Data of REP_META_CONTEXT."""

    id: int
    name: str

    @classmethod
    def decode(cls, data: bytes, option: int) -> MetaContext:
        """InvalidOption when it is none."""
        if not _U32.size < len(data) <= _U32.size + MAX_STRING_SIZE:
            problem = f"server answered with unexpected length {len(data)}"
            raise InvalidOption(f"Failed to negotiate meta context, {problem}")
        cursor = OptionData(data, option)
        return cls(cursor.u32(), decode_text(cursor.take(cursor.left)))

    def encode(self) -> bytes:
        """As it goes over the wire."""
        return _U32.pack(self.id) + encode_text(self.name)


def option_reply(option: int, reply_type: int, data: bytes = b"") -> bytes:
    """What a server sends in reply to an option."""
    return REPLY_HEADER.pack(REP_MAGIC, option, reply_type, len(data)) + data


def export_information(size: int, flags: int) -> bytes:
    """Data of REP_INFO with INFO_EXPORT."""
    return _EXPORT.pack(INFO_EXPORT, size, flags)


def name_information(name: str) -> bytes:
    """Data of REP_INFO with INFO_NAME."""
    return _U16.pack(INFO_NAME) + encode_text(name)


def description_information(description: str) -> bytes:
    """Data of REP_INFO with INFO_DESCRIPTION."""
    return _U16.pack(INFO_DESCRIPTION) + encode_text(description)


def block_size_information(sizes: BlockSizes) -> bytes:
    """Data of REP_INFO with INFO_BLOCK_SIZE."""
    return _BLOCK_SIZE.pack(INFO_BLOCK_SIZE, *sizes)


def add_information(known: ExportInformation | None, data: bytes, option: int) -> ExportInformation | None:
    """``known`` and what one more REP_INFO says; a type that nobody knows changes nothing. InvalidOption."""
    cursor = OptionData(data, option)
    kind = cursor.u16()
    known = known or ExportInformation(-1, 0)
    if kind == INFO_EXPORT and len(data) == _EXPORT.size:
        _, size, flags = _EXPORT.unpack(data)
        return known._replace(size=size, flags=flags)
    if kind == INFO_BLOCK_SIZE and len(data) == _BLOCK_SIZE.size:
        sizes = BlockSizes(*_BLOCK_SIZE.unpack(data)[1:])
        sizes.check()
        return known._replace(block_sizes=sizes)
    if kind in (INFO_NAME, INFO_DESCRIPTION) and cursor.left <= MAX_STRING_SIZE:
        text = decode_text(cursor.take(cursor.left))
        return known._replace(name=text) if kind == INFO_NAME else known._replace(description=text)
    if kind in (INFO_EXPORT, INFO_BLOCK_SIZE, INFO_NAME, INFO_DESCRIPTION):
        raise InvalidOption(f"remaining export info len {cursor.left} is unexpected size")
    return known


def _counted(text: str) -> bytes:
    data = encode_text(text)
    return _U32.pack(len(data)) + data


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def shorten(name: str) -> str:
    """A name for a message: 80 bytes of it at most, as QEMU does."""
    data = encode_text(name)
    return decode_text(data if len(data) <= 80 else data[:80] + b"...")
