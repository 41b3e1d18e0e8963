# SPDX-License-Identifier: GPL-2.0-or-later
"""ServerNegotiation: a server's side of the handshake, without I/O. Spec: proto.md, "Fixed newstyle negotiation".

    FLAGS ---the client's flags---> OPTIONS --OPT_EXPORT_NAME, OPT_GO--> TRANSMISSION
                                    |  ^  \\--OPT_ABORT--> ABORTED
                        OPT_STARTTLS|  |tls_started
                                    v  |
                                  STARTTLS

    negotiation = ServerNegotiation(...)
    send(negotiation.greeting())
    while negotiation.negotiating:
        negotiation.receive(...)                          what has come
        while (reply := negotiation.step()) is not None:  one option a step: replies never pile up
            send(reply)

Replies and messages are those of QEMU 7.2. Where its server loses its place in the stream (data behind the last query
of a metadata context request), ours says that the option is invalid and goes on, as the spec wants.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final, NamedTuple

from asyncemu.block.nbd.constants import (
    FLAG_FIXED_NEWSTYLE,
    FLAG_NO_ZEROES,
    FLAG_SEND_DF,
    INFO_BLOCK_SIZE,
    INFO_NAME,
    INIT_PASSWD,
    MAX_BUFFER_SIZE,
    MAX_STRING_SIZE,
    OPT_ABORT,
    OPT_EXPORT_NAME,
    OPT_GO,
    OPT_INFO,
    OPT_LIST,
    OPT_LIST_META_CONTEXT,
    OPT_SET_META_CONTEXT,
    OPT_STARTTLS,
    OPT_STRUCTURED_REPLY,
    OPTS_MAGIC,
    REP_ACK,
    REP_ERR_BLOCK_SIZE_REQD,
    REP_ERR_INVALID,
    REP_ERR_POLICY,
    REP_ERR_SHUTDOWN,
    REP_ERR_TLS_REQD,
    REP_ERR_TOO_BIG,
    REP_ERR_UNKNOWN,
    REP_ERR_UNSUP,
    REP_INFO,
    REP_META_CONTEXT,
    REP_SERVER,
)
from asyncemu.block.nbd.option_messages import (
    OPTION_HEADER,
    BlockSizes,
    InfoRequest,
    InvalidOption,
    ListedExport,
    MetaContext,
    MetaContextRequest,
    block_size_information,
    decode_text,
    description_information,
    encode_text,
    export_information,
    name_information,
    option_name,
    option_reply,
    shorten,
)
from asyncemu.errors import ProtocolError

#: Options of one handshake: more than any client has a use for, few enough to end (arbitrary; nbdkit allows 32, but a
#: client may ask about every export of a long list).
MAX_OPTIONS: Final = 4096
#: Bytes of data of an option that we keep: OPT_INFO with all 65535 information types fits. What is longer is skipped
#: and refused; from MAX_BUFFER_SIZE on, as in QEMU, the client is hung up on.
MAX_OPTION_DATA: Final = 256 << 10

_GREETING: Final = Struct(">QQH")
_CLIENT_FLAGS: Final = Struct(">I")
_EXPORT_NAME_REPLY: Final = Struct(">QH")
#: Behind the reply to OPT_EXPORT_NAME, for clients that do not decline them.
_RESERVED: Final = bytes(124)


class State(enum.Enum):
    """See the drawing at the top."""

    FLAGS = "flags"
    OPTIONS = "options"
    STARTTLS = "starttls"
    TRANSMISSION = "transmission"
    ABORTED = "aborted"


class ExportOffer(NamedTuple):
    """What a client is told about an export."""

    name: str
    description: str
    #: Bytes.
    size: int
    #: FLAG_* of the transmission, without FLAG_SEND_DF, which is the negotiation's.
    flags: int
    block_sizes: BlockSizes
    #: Metadata contexts that can be selected; their ids are unique and stay the same.
    contexts: tuple[MetaContext, ...]


class ServerNegotiation:
    """One client. ``step`` raises ProtocolError when it is to be hung up on, without a reply."""

    def __init__(self, exports: Callable[[], Mapping[str, ExportOffer]], *, tls: bool = False, peer: str = "") -> None:
        #: Asked anew for each option: exports may come and go.
        self._exports = exports
        self._tls_required = tls
        self._peer = peer
        self._received = bytearray()
        #: Bytes of the stream before ``_received``.
        self._offset = 0
        #: Bytes of an option's data still to be thrown away.
        self._to_skip = 0
        self._options_left = MAX_OPTIONS
        self._fixed_newstyle = False
        self._no_zeroes = False
        self._handlers: Final = {
            OPT_LIST: self._list,
            OPT_INFO: self._info,
            OPT_GO: self._info,
            OPT_STARTTLS: self._starttls,
            OPT_STRUCTURED_REPLY: self._structured_reply,
            OPT_LIST_META_CONTEXT: self._meta_context,
            OPT_SET_META_CONTEXT: self._meta_context,
        }
        self.state = State.FLAGS
        self.tls = False
        #: Refuse all but OPT_ABORT from now on.
        self.shutting_down = False
        self.structured_replies = False
        #: Selected by OPT_SET_META_CONTEXT, for the export of that name.
        self._contexts: tuple[MetaContext, ...] = ()
        self._contexts_of = ""
        #: In TRANSMISSION: what the client has chosen, and the flags that it was told.
        self.export: ExportOffer | None = None
        self.flags = 0

    # ---- bytes

    def greeting(self) -> bytes:
        """What the server begins with."""
        return _GREETING.pack(INIT_PASSWD, OPTS_MAGIC, FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES)

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """More of the client's stream."""
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        self._offset += skipped
        self._received += memoryview(data)[skipped:]

    @property
    def negotiating(self) -> bool:
        """Is there more to be received?"""
        return self.state in (State.FLAGS, State.OPTIONS)

    @property
    def contexts(self) -> tuple[MetaContext, ...]:
        """In TRANSMISSION: the metadata contexts for BLOCK_STATUS."""
        # Those of another export are none (proto.md, OPT_SET_META_CONTEXT).
        return self._contexts if self.export is not None and self.export.name == self._contexts_of else ()

    def rest(self) -> bytes:
        """What was received behind the handshake: the beginning of the transmission."""
        rest = bytes(self._received)
        self._received.clear()
        return rest

    def tls_started(self) -> None:
        """The reply to OPT_STARTTLS has been sent, and TLS stands."""
        assert self.state is State.STARTTLS
        self.state = State.OPTIONS
        self.tls = True
        # Nothing of what was negotiated without TLS holds (proto.md, OPT_STARTTLS).
        self.structured_replies = False
        self._contexts = ()

    # ---- one step

    def step(self) -> bytes | None:
        """Take in the next option, if all of it is there: the replies to it; None: receive more first."""
        if self.state is State.FLAGS:
            return self._client_flags()
        if self.state is not State.OPTIONS or len(self._received) < OPTION_HEADER.size:
            return None
        magic, option, length = OPTION_HEADER.unpack_from(self._received)
        if magic != OPTS_MAGIC:
            raise self._broken("Bad magic received")
        if length > MAX_BUFFER_SIZE:
            raise self._broken(f"len ({length} ) is larger than max len ({MAX_BUFFER_SIZE})")
        if length > MAX_OPTION_DATA:
            self._take(OPTION_HEADER.size)
            skipped = min(length, len(self._received))
            self._take(skipped)
            self._to_skip = length - skipped
            return self._option(option, None)
        if len(self._received) < OPTION_HEADER.size + length:
            return None
        return self._option(option, self._take(OPTION_HEADER.size + length)[OPTION_HEADER.size :])

    def _take(self, length: int) -> bytes:
        taken = bytes(self._received[:length])
        del self._received[:length]
        self._offset += length
        return taken

    def _broken(self, problem: str) -> ProtocolError:
        return ProtocolError(self._peer, self._offset, problem)

    def _client_flags(self) -> bytes | None:
        if len(self._received) < _CLIENT_FLAGS.size:
            return None
        (flags,) = _CLIENT_FLAGS.unpack(self._take(_CLIENT_FLAGS.size))
        self._fixed_newstyle = bool(flags & FLAG_FIXED_NEWSTYLE)
        self._no_zeroes = bool(flags & FLAG_NO_ZEROES)
        unknown = flags & ~(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES)
        if unknown:
            raise self._broken(f"Unknown client flags {unknown:#x} received")
        self.state = State.OPTIONS
        return b""

    def _option(self, option: int, data: bytes | None) -> bytes:
        """The replies; ``data`` None: it was too long."""
        self._options_left -= 1
        if self._options_left < 0:
            raise self._broken(f"more than {MAX_OPTIONS} options")
        if not self._fixed_newstyle:
            if self._tls_required:
                raise self._broken(f"Unsupported option {option:#x}")
            if option != OPT_EXPORT_NAME:
                raise self._broken(f"Unsupported option {option} ({option_name(option)})")
        if option == OPT_EXPORT_NAME:
            if self._tls_required and not self.tls:
                raise self._broken(f"Option {option:#x} not permitted before TLS")
            return self._export_name(data)
        if option == OPT_ABORT:
            self.state = State.ABORTED
            return option_reply(option, REP_ACK)
        if self.shutting_down:
            return self._error(option, REP_ERR_SHUTDOWN, "server is shutting down")
        if self._tls_required and not self.tls and option != OPT_STARTTLS:
            return self._error(option, REP_ERR_TLS_REQD, f"Option {option:#x} not permitted before TLS")
        handler = self._handlers.get(option)
        if handler is None:
            return self._error(option, REP_ERR_UNSUP, f"Unsupported option {option} ({option_name(option)})")
        if data is None:
            return self._error(option, REP_ERR_TOO_BIG, f"option '{option_name(option)}' is too long")
        try:
            return handler(option, data)
        except InvalidOption as error:
            return self._error(option, REP_ERR_INVALID, str(error))

    def _error(self, option: int, reply_type: int, message: str) -> bytes:
        return option_reply(option, reply_type, encode_text(message))

    # ---- options

    def _export_name(self, data: bytes | None) -> bytes:
        if data is None or len(data) > MAX_STRING_SIZE:
            raise self._broken("Bad length received")
        export = self._exports().get(decode_text(data))
        if export is None or self.shutting_down:
            raise self._broken("export not found")
        self._enter(export)
        reply = _EXPORT_NAME_REPLY.pack(export.size, self.flags)
        return reply if self._no_zeroes else reply + _RESERVED

    def _enter(self, export: ExportOffer) -> None:
        self.export = export
        self.flags = self._flags(export)
        self.state = State.TRANSMISSION

    def _flags(self, export: ExportOffer) -> int:
        return export.flags | (FLAG_SEND_DF if self.structured_replies else 0)

    def _list(self, option: int, data: bytes) -> bytes:
        _no_data(option, data)
        listed = [ListedExport(export.name, export.description) for export in self._exports().values()]
        replies = [option_reply(option, REP_SERVER, each.encode()) for each in listed]
        return b"".join([*replies, option_reply(option, REP_ACK)])

    def _starttls(self, option: int, data: bytes) -> bytes:
        _no_data(option, data)
        if self.tls:
            return self._error(option, REP_ERR_INVALID, "TLS already enabled")
        if not self._tls_required:
            return self._error(option, REP_ERR_POLICY, "TLS not configured")
        # What the client sends before it has our answer would count as sent through TLS, though anybody may have put
        # it there.
        if self._received:
            raise self._broken("data behind option starttls")
        self.state = State.STARTTLS
        return option_reply(option, REP_ACK)

    def _structured_reply(self, option: int, data: bytes) -> bytes:
        _no_data(option, data)
        if self.structured_replies:
            return self._error(option, REP_ERR_INVALID, "structured reply already negotiated")
        self.structured_replies = True
        return option_reply(option, REP_ACK)

    def _info(self, option: int, data: bytes) -> bytes:
        request = InfoRequest.decode(data, option)
        export = self._exports().get(request.export)
        if export is None:
            return self._unknown(option, request.export)
        asks_sizes = INFO_BLOCK_SIZE in request.information
        minimum, preferred, maximum = export.block_sizes
        # Who does not ask does not promise to keep to it: we serve any alignment.
        told = BlockSizes(minimum if asks_sizes or option == OPT_INFO else 1, preferred, maximum)
        information = [block_size_information(told), export_information(export.size, self._flags(export))]
        if export.description:
            information.insert(0, description_information(export.description))
        if INFO_NAME in request.information:
            information.insert(0, name_information(export.name))
        replies = b"".join(option_reply(option, REP_INFO, each) for each in information)
        if option == OPT_INFO and not asks_sizes and minimum > 1:
            message = "request NBD_INFO_BLOCK_SIZE to use this export"
            return replies + self._error(option, REP_ERR_BLOCK_SIZE_REQD, message)
        if option == OPT_GO:
            self._enter(export)
        return replies + option_reply(option, REP_ACK)

    def _meta_context(self, option: int, data: bytes) -> bytes:
        listing = option == OPT_LIST_META_CONTEXT
        if not listing:
            self._contexts = ()
            if not self.structured_replies:
                problem = f"request option '{option_name(option)}' when structured reply is not negotiated"
                return self._error(option, REP_ERR_INVALID, problem)
        request = MetaContextRequest.decode(data, option)
        export = self._exports().get(request.export)
        if export is None:
            return self._unknown(option, request.export)
        if listing and not request.queries:
            found = export.contexts
        else:
            queries = set(request.queries)
            wildcards = tuple(query for query in queries if query.endswith(":")) if listing else ()
            found = tuple(each for each in export.contexts if each.name in queries or each.name.startswith(wildcards))
        if not listing:
            self._contexts, self._contexts_of = found, export.name
        # In a list the id means nothing and is 0.
        shown = (each._replace(id=0) if listing else each for each in found)
        replies = [option_reply(option, REP_META_CONTEXT, each.encode()) for each in shown]
        return b"".join([*replies, option_reply(option, REP_ACK)])

    def _unknown(self, option: int, name: str) -> bytes:
        return self._error(option, REP_ERR_UNKNOWN, f"export '{shorten(name)}' not present")


def _no_data(option: int, data: bytes) -> None:
    if data:
        raise InvalidOption(f"option '{option_name(option)}' has unexpected length")
