# SPDX-License-Identifier: GPL-2.0-or-later
"""ClientNegotiation: a client's side of the handshake, without I/O. Spec: proto.md, "Handshake".

    negotiation = ClientNegotiation("export", ...)
    while not negotiation.done:
        if negotiation.starts_tls: ...; negotiation.tls_started()
        while (request := negotiation.step()) is not None:
            send(request)
        negotiation.receive(...)

It goes the way of QEMU 7.2's client: TLS first, then structured replies, a metadata context, OPT_GO; with servers that
know less OPT_LIST and OPT_EXPORT_NAME, or what newstyle and oldstyle servers of old do. Messages are QEMU's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from struct import Struct
from typing import Final, NamedTuple, TypeVar

from asyncemu.block.nbd.constants import (
    BASE_ALLOCATION,
    CLISERV_MAGIC,
    FLAG_FIXED_NEWSTYLE,
    FLAG_NO_ZEROES,
    INFO_BLOCK_SIZE,
    INIT_PASSWD,
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
    REP_ERR_PLATFORM,
    REP_ERR_POLICY,
    REP_ERR_SHUTDOWN,
    REP_ERR_TLS_REQD,
    REP_ERR_UNKNOWN,
    REP_ERR_UNSUP,
    REP_FLAG_ERROR,
    REP_INFO,
    REP_MAGIC,
    REP_META_CONTEXT,
    REP_SERVER,
    REPLY_NAMES,
)
from asyncemu.block.nbd.option_messages import (
    REPLY_HEADER,
    ExportInformation,
    InfoRequest,
    InvalidOption,
    ListedExport,
    MetaContext,
    MetaContextRequest,
    add_information,
    encode_text,
    option_name,
    option_request,
    shorten,
)
from asyncemu.errors import ProtocolError

#: Bytes of data in one reply: the longest string, twice, and room.
MAX_REPLY_DATA: Final = 4 * MAX_STRING_SIZE
#: Replies to one option: the longest list of exports that we take (arbitrary).
MAX_REPLIES: Final = 1 << 14
#: Bytes of data of all replies together (arbitrary; 2 KiB for each export of the longest list).
MAX_ALL_DATA: Final = 32 << 20

_U16: Final = Struct(">H")
_U32: Final = Struct(">I")
_U64: Final = Struct(">Q")
_EXPORT_NAME_REPLY: Final = Struct(">QH")
_OLDSTYLE_REPLY: Final = Struct(">QI")
_RESERVED_SIZE: Final = 124

_REFUSALS: Final = {
    REP_ERR_POLICY: "Denied by server for option {}",
    REP_ERR_INVALID: "Invalid parameters for option {}",
    REP_ERR_PLATFORM: "Server lacks support for option {}",
    REP_ERR_TLS_REQD: "TLS negotiation required before option {}",
    REP_ERR_UNKNOWN: "Requested export not available",
    REP_ERR_SHUTDOWN: "Server shutting down before option {}",
    REP_ERR_BLOCK_SIZE_REQD: "Server requires INFO_BLOCK_SIZE for option {}",
}

#: Options without which the session is poorer, and no more.
_DISPENSABLE: Final = (OPT_STRUCTURED_REPLY, OPT_LIST_META_CONTEXT, OPT_SET_META_CONTEXT)

ValueT = TypeVar("ValueT")


class Refused(Exception):
    """The server can't or won't; ``hint`` is what else is known, lines that each end in a newline."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(problem)


class _Need(NamedTuple):
    """Yielded by the machine: it goes on with so many bytes."""

    length: int
    what: str


class _Reply(NamedTuple):
    """One reply to an option."""

    type: int
    data: bytes


#: Yields what it needs, or bytes to send; is sent the bytes that it needed.
_Machine = Generator["_Need | bytes", bytes, ValueT]


class Agreement(NamedTuple):
    """What the handshake has led to."""

    export: ExportInformation
    structured_replies: bool = False
    #: The metadata context that was asked for; None: the server does not have it.
    context: MetaContext | None = None


class DescribedExport(NamedTuple):
    """One entry of a server's list."""

    name: str
    description: str
    #: None: the server does not tell.
    information: ExportInformation | None
    #: Names of its metadata contexts.
    contexts: tuple[str, ...]


class ClientNegotiation:
    """One connection. ``step`` and ``end`` raise ProtocolError (the server breaks the protocol) or Refused."""

    def __init__(
        self,
        export: str,
        *,
        listing: bool = False,
        tls: bool = False,
        context: str = BASE_ALLOCATION,
        peer: str = "server",
    ) -> None:
        self._name = export
        self._wants_tls = tls
        self._wanted_context = context
        self._peer = peer
        self._received = bytearray()
        self._offset = 0
        self._room = MAX_ALL_DATA
        self._structured = False
        self._fixed = False
        self._flags = 0
        #: Set while OPT_STARTTLS is agreed on and TLS does not stand yet.
        self.starts_tls = False
        #: The outcome: what was agreed on, or the server's list.
        self.agreement: Agreement | None = None
        self.exports: list[DescribedExport] | None = None
        self._machine: _Machine[None] = self._list_exports() if listing else self._choose_export()
        self._need: _Need | None = None
        self._begun = False

    # ---- bytes

    @property
    def done(self) -> bool:
        """Is there an outcome?"""
        return self.agreement is not None or self.exports is not None

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """More of the server's stream."""
        self._received += data

    def end(self) -> ProtocolError:
        """The server's stream has ended before there was an outcome: why that is wrong."""
        what = self._need.what if self._need is not None else "the next message"
        return self._broken(f"Failed to read {what}: Unexpected end-of-file before all data were read")

    def rest(self) -> bytes:
        """What was received behind the handshake."""
        rest = bytes(self._received)
        self._received.clear()
        return rest

    def tls_started(self) -> None:
        """TLS stands."""
        assert self.starts_tls
        self.starts_tls = False

    def farewell(self) -> bytes:
        """What to send before hanging up, when the server has done nothing wrong (proto.md: a soft disconnect)."""
        return option_request(OPT_ABORT) if self._fixed and self.agreement is None else b""

    def step(self) -> bytes | None:
        """Go on as far as possible: bytes to send, or None: receive more first, start TLS, or it is done."""
        while not self.done and not self.starts_tls:
            given = b""
            if self._need is not None:
                if len(self._received) < self._need.length:
                    return None
                given = bytes(self._received[: self._need.length])
                del self._received[: self._need.length]
                self._offset += len(given)
                self._need = None
            try:
                wanted = self._machine.send(given) if self._begun else next(self._machine)
            except StopIteration:
                return None
            except InvalidOption as error:
                raise self._broken(str(error)) from None
            self._begun = True
            if isinstance(wanted, _Need):
                self._need = wanted
            elif wanted:
                return wanted
        return None

    def _broken(self, problem: str) -> ProtocolError:
        return ProtocolError(self._peer, self._offset, problem)

    # ---- the whole

    def _choose_export(self) -> _Machine[None]:
        if len(encode_text(self._name)) > MAX_STRING_SIZE:
            raise Refused(f"export name too long, at most {MAX_STRING_SIZE} bytes")
        if not (yield from self._begin()):
            self.agreement = Agreement((yield from self._oldstyle()))
            return
        if self._fixed:
            context = None
            if self._structured:
                context = yield from self._set_meta_context()
            information = yield from self._information(OPT_GO, self._name)
            if information is not None:
                self.agreement = Agreement(information, self._structured, context)
                return
            yield from self._check_listed()
            # OPT_EXPORT_NAME can't be refused but by the end of the connection.
            information = yield from self._export_name()
            self.agreement = Agreement(information, self._structured, context)
            return
        self.agreement = Agreement((yield from self._export_name()))

    def _list_exports(self) -> _Machine[None]:
        if not (yield from self._begin()):
            # An oldstyle server has one export, and no name for it.
            self.exports = [DescribedExport("", "", (yield from self._oldstyle()), ())]
            return
        if not self._fixed:
            raise Refused("Server does not support export lists")
        listed = yield from self._replies(OPT_LIST, b"", REP_SERVER, ListedExport.decode)
        described = []
        knows_info = True
        for name, description in listed or ():
            information = None
            contexts: tuple[str, ...] = ()
            if knows_info:
                information = yield from self._information(OPT_INFO, name)
                knows_info = information is not None
            if knows_info and self._structured:
                contexts = yield from self._list_meta_contexts(name)
            described.append(DescribedExport(name, description, information, contexts))
        # A courtesy; the answer, if there is one, does not matter.
        yield option_request(OPT_ABORT)
        self.exports = described

    # ---- beginnings

    def _begin(self) -> _Machine[bool]:
        """Up to the options; False: it is an oldstyle server."""
        (magic,) = _U64.unpack((yield _Need(8, "initial magic")))
        if magic != INIT_PASSWD:
            raise self._broken(f"Bad initial magic received: {magic:#x}")
        (magic,) = _U64.unpack((yield _Need(8, "server magic")))
        if magic == CLISERV_MAGIC:
            if self._wants_tls:
                raise Refused("Server does not support STARTTLS")
            return False
        if magic != OPTS_MAGIC:
            raise self._broken(f"Bad server magic received: {magic:#x}")
        (flags,) = _U16.unpack((yield _Need(2, "server flags")))
        self._flags = flags & (FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES)
        yield _U32.pack(self._flags)
        self._fixed = bool(flags & FLAG_FIXED_NEWSTYLE)
        if self._wants_tls:
            if not self._fixed:
                raise Refused("Server does not support STARTTLS")
            yield from self._start_tls()
        if self._fixed:
            self._structured = yield from self._simple_option(OPT_STRUCTURED_REPLY)
        return True

    def _start_tls(self) -> _Machine[None]:
        if not (yield from self._simple_option(OPT_STARTTLS)):
            raise Refused("Server don't support STARTTLS option")
        if self._received:
            # It came before TLS stands, and would count as if TLS had brought it.
            raise self._broken("data behind the reply to option starttls")
        self.starts_tls = True
        yield b""

    def _oldstyle(self) -> _Machine[ExportInformation]:
        if self._name:
            raise Refused("Server does not support non-empty export names")
        size, flags = _OLDSTYLE_REPLY.unpack((yield _Need(_OLDSTYLE_REPLY.size, "export length")))
        if flags & ~0xFFFF:
            raise self._broken(f"Unexpected export flags {flags:#x}")
        yield _Need(_RESERVED_SIZE, "reserved block")
        return ExportInformation(size, flags)

    def _export_name(self) -> _Machine[ExportInformation]:
        yield option_request(OPT_EXPORT_NAME, encode_text(self._name))
        size, flags = _EXPORT_NAME_REPLY.unpack((yield _Need(_EXPORT_NAME_REPLY.size, "export length")))
        if not self._flags & FLAG_NO_ZEROES:
            yield _Need(_RESERVED_SIZE, "reserved block")
        return ExportInformation(size, flags)

    # ---- options

    def _reply(self, option: int) -> _Machine[_Reply | None]:
        """One reply to ``option``; None: the server does not know it, or won't, and we can do without."""
        head = yield _Need(REPLY_HEADER.size, "option reply")
        magic, about, kind, length = REPLY_HEADER.unpack(head)
        if magic != REP_MAGIC:
            raise self._broken("Unexpected option reply magic")
        if about != option:
            raise self._broken(f"Unexpected option type {_named(about)}, expected {_named(option)}")
        if length > MAX_REPLY_DATA:
            raise self._broken(f"option reply of {length} bytes, at most {MAX_REPLY_DATA}")
        self._room -= length
        if self._room < 0:
            raise self._broken(f"more than {MAX_ALL_DATA} bytes of option replies")
        data = yield _Need(length, "option reply data")
        if not kind & REP_FLAG_ERROR:
            return _Reply(kind, data)
        if kind == REP_ERR_UNSUP or option in _DISPENSABLE:
            return None
        problem = _REFUSALS.get(kind, f"Unknown error code when asking for option {{}}: {kind:#x}").format(
            _named(option)
        )
        hint = "Did you forget a valid tls-creds?\n" if kind == REP_ERR_TLS_REQD else ""
        if data:
            hint += f"server reported: {_printable(data.decode('utf-8', 'replace'))}\n"
        raise Refused(problem, hint)

    def _simple_option(self, option: int) -> _Machine[bool]:
        """An option without data; False: the server does not know it."""
        yield option_request(option)
        reply = yield from self._reply(option)
        if reply is None:
            return False
        if reply.type != REP_ACK:
            raise self._broken(
                f"Server answered option {_named(option)} with unexpected reply {_kind_named(reply.type)}"
            )
        if reply.data:
            named = f"Option {option} ('{option_name(option)}')"
            raise self._broken(f"{named} response length is {len(reply.data)} (it should be zero)")
        return True

    def _replies(
        self, option: int, data: bytes, expected: int, decode: Callable[[bytes, int], ValueT]
    ) -> _Machine[list[ValueT] | None]:
        """The replies of type ``expected`` up to the acknowledgement, decoded; None as in ``_reply``."""
        yield option_request(option, data)
        found: list[ValueT] = []
        while True:
            reply = yield from self._reply(option)
            if reply is None:
                return None
            if reply.type == REP_ACK and not reply.data:
                return found
            if reply.type != expected:
                found_and_expected = f"{_kind_named(reply.type)}, expected {_kind_named(expected)}"
                raise self._broken(f"Unexpected reply type {found_and_expected}")
            if len(found) == MAX_REPLIES:
                raise self._broken(f"more than {MAX_REPLIES} replies to option {_named(option)}")
            found.append(decode(reply.data, option))

    def _information(self, option: int, export: str) -> _Machine[ExportInformation | None]:
        """OPT_INFO or OPT_GO; None: the server does not know it."""
        request = InfoRequest(export, (INFO_BLOCK_SIZE,)).encode()
        replies = yield from self._replies(option, request, REP_INFO, lambda data, _: data)
        if replies is None:
            return None
        information: ExportInformation | None = None
        for data in replies:
            information = add_information(information, data, option)
        if information is None or information.size < 0:
            raise self._broken("broken server omitted NBD_INFO_EXPORT")
        sizes = information.block_sizes
        if sizes is not None and information.size % sizes.minimum:
            size = information.size
            raise Refused(f"export size {size} is not multiple of minimum block size {sizes.minimum}")
        return information

    def _set_meta_context(self) -> _Machine[MetaContext | None]:
        request = MetaContextRequest(self._name, (self._wanted_context,)).encode()
        option = OPT_SET_META_CONTEXT
        contexts = yield from self._replies(option, request, REP_META_CONTEXT, MetaContext.decode)
        if not contexts:
            return None
        if len(contexts) > 1:
            raise self._broken("Server answered with more than one context")
        if contexts[0].name != self._wanted_context:
            answered = f"server answered with different context '{_printable(shorten(contexts[0].name))}'"
            raise self._broken(f"Failed to negotiate meta context '{self._wanted_context}', {answered}")
        return contexts[0]

    def _list_meta_contexts(self, export: str) -> _Machine[tuple[str, ...]]:
        option = OPT_LIST_META_CONTEXT
        names: list[str] = []
        # QEMU 3.0's server tells of its own contexts only when asked for them.
        for queries in ((), ("qemu:",)):
            request = MetaContextRequest(export, queries).encode()
            contexts = yield from self._replies(option, request, REP_META_CONTEXT, MetaContext.decode)
            names += [context.name for context in contexts or () if context.name not in names]
            if not names or any(name.startswith("qemu:") for name in names):
                break
        return tuple(names)

    def _check_listed(self) -> _Machine[None]:
        """Before OPT_EXPORT_NAME: is there such an export?"""
        listed = yield from self._replies(OPT_LIST, b"", REP_SERVER, ListedExport.decode)
        if listed is not None and all(export.name != self._name for export in listed):
            raise Refused(f"No export with name '{self._name}' available")


def _named(option: int) -> str:
    return f"{option} ({option_name(option)})"


def _printable(text: str) -> str:
    """The server's words end up on terminals, and in lines."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _kind_named(kind: int) -> str:
    return f"{kind} ({REPLY_NAMES.get(kind, '<unknown>')})"
