# SPDX-License-Identifier: GPL-2.0-or-later
"""DnsProxy: hands the guest's questions on to the host's resolvers, and answers those about static names itself.

    guest's query -> DnsProxy.query -> Answer, or Forward to the resolver -> DnsProxy.response -> Answer
                                       expire: Forward to the next one, or Answer that nobody knows

Messages go on as they are but for their number, which is our own and random (RFC 5452, 9.2), so EDNS and DNSSEC work.
Only a response with the number and the question of a query in flight comes back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, NamedTuple

from asyncemu.net.packets import dns, dns_names
from asyncemu.net.packets.errors import Malformed

_SECOND: Final = 1_000_000_000

#: How long a resolver may take, in ns: resolv.conf(5), timeout.
TIMEOUT: Final = 5 * _SECOND
#: How often each resolver is asked: resolv.conf(5), attempts.
ATTEMPTS: Final = 2

#: Queries in flight at most; the oldest makes room. A query is short: what EDNS allows (RFC 6891, 6.2.5), in bytes.
MAX_QUERIES: Final = 512
MAX_LENGTH: Final = 4096
#: Of a name that is ours, in seconds: it does not change while the guest runs, but its next start may.
TIME_TO_LIVE: Final = 60

#: resolv.conf(5): MAXNS.
MAX_SERVERS: Final = 3


class Answer(NamedTuple):
    """A message for the guest's socket that ``client`` stands for."""

    client: Hashable
    payload: bytes


class Forward(NamedTuple):
    """A message for the host's resolver of that index."""

    server: int
    payload: bytes


class _Query(NamedTuple):
    client: Hashable
    #: As it came from the guest, and its question.
    payload: bytes
    question: bytes
    #: How often it has been sent, to which resolver, and until when it waits.
    sent: int
    server: int
    deadline: int


class DnsProxy:
    """State: the queries in flight.

    ``names``: host names and their addresses, of 4 or 16 bytes. ``servers``: number of resolvers; 0: there is none.
    ``random``: gives 16 bits that the outside can't foresee: secrets.randbits.
    """

    def __init__(self, names: Mapping[str, Sequence[bytes]], servers: int, random: Callable[[int], int]) -> None:
        self._names: dict[str, Sequence[bytes]] = {_key(name): addresses for name, addresses in names.items()}
        self._reverse: dict[str, list[str]] = {}
        for name, addresses in names.items():
            for address in addresses:
                self._reverse.setdefault(reverse_name(address), []).append(name)
        self._servers = servers
        self._random = random
        #: By the number that the resolver sees; in the order of their deadlines.
        self._queries: dict[int, _Query] = {}
        #: Which of our numbers a guest's socket and its number have: a query that is sent again stays one.
        self._numbers: dict[tuple[Hashable, bytes], int] = {}
        #: Queries that made room, responses that nobody asked for, queries that no resolver answered.
        self.dropped = 0
        self.unexpected = 0
        self.failed = 0

    def __len__(self) -> int:
        return len(self._queries)

    def query(self, payload: bytes, client: Hashable, now: int) -> Answer | Forward:
        """What the guest asks. Raises Malformed: no query at all."""
        if not dns.HEADER_LENGTH <= len(payload) <= MAX_LENGTH or payload[2] & 0x80:
            raise Malformed("DNS message is not a query")
        try:
            query = dns.parse(payload)
        except Malformed:
            return Answer(client, dns.failure(payload, dns.FORMAT_ERROR))
        records = self._static(query)
        if records is not None:
            return Answer(client, dns.answer(query, payload, records, TIME_TO_LIVE))
        if not self._servers:
            return Answer(client, dns.failure(payload, dns.SERVER_FAILURE))
        key = (client, payload)
        number = self._numbers.get(key)
        if number is not None:
            # The guest's resolver has no patience: ask again, and the next one.
            return self._ask(number, self._remove(number), now)
        while len(self._queries) >= MAX_QUERIES:
            self._remove(next(iter(self._queries)))
            self.dropped += 1
        number = self._random(16)
        while number in self._queries:
            number = (number + 1) & 0xFFFF
        question = payload[dns.HEADER_LENGTH : query.end]
        return self._ask(number, _Query(client, payload, question, 0, -1, 0), now)

    def response(self, payload: bytes, server: int) -> Answer | None:
        """What the resolver of that index says; None: to nothing that it was asked."""
        found = self._queries.get(int.from_bytes(payload[:2], "big"))
        # RFC 5452, 9.1: from where it was sent to (the first ones first), and with the same question.
        if (
            found is None
            or len(payload) < dns.HEADER_LENGTH
            or not payload[2] & 0x80
            or server not in range(min(found.sent, self._servers))
            or not _same_question(payload, found.question)
        ):
            self.unexpected += 1
            return None
        self._remove(int.from_bytes(payload[:2], "big"))
        return Answer(found.client, found.payload[:2] + payload[2:])

    def next_deadline(self) -> int | None:
        """When ``expire`` has something to do, in ns."""
        return next(iter(self._queries.values())).deadline if self._queries else None

    def expire(self, now: int) -> list[Answer | Forward]:
        """Queries that were not answered in time go to the next resolver, in the end back as failed."""
        messages: list[Answer | Forward] = []
        while self._queries:
            number, query = next(iter(self._queries.items()))
            if query.deadline > now:
                break
            self._remove(number)
            if query.sent < ATTEMPTS * self._servers:
                messages.append(self._ask(number, query, now))
            else:
                self.failed += 1
                messages.append(Answer(query.client, dns.failure(query.payload, dns.SERVER_FAILURE)))
        return messages

    def _ask(self, number: int, query: _Query, now: int) -> Forward:
        server = (query.server + 1) % self._servers
        self._queries[number] = query._replace(sent=query.sent + 1, server=server, deadline=now + TIMEOUT)
        self._numbers[query.client, query.payload] = number
        return Forward(server, dns.with_identification(query.payload, number))

    def _remove(self, number: int) -> _Query:
        query = self._queries.pop(number)
        del self._numbers[query.client, query.payload]
        return query

    def _static(self, query: dns.Message) -> list[bytes] | None:
        """The data of the records of a name that is ours; None: it is not, or it is not a question for data."""
        if query.class_ != dns.INTERNET or query.flags & dns.OPCODE:
            return None
        name = _key(query.name)
        addresses = self._names.get(name)
        if addresses is not None:
            length = {dns.A: 4, dns.AAAA: 16}.get(query.type)
            return [address for address in addresses if len(address) == length]
        if query.type == dns.PTR and name in self._reverse:
            return [dns_names.pack(each) for each in self._reverse[name]]
        return None


def reverse_name(address: bytes) -> str:
    """Whose PTR record says what an address is called: RFC 1035, 3.5; RFC 3596, 2.5."""
    return ipaddress.ip_address(address).reverse_pointer


def parse_resolv_conf(text: str) -> list[str]:
    """The resolvers of a resolv.conf(5), as addresses in text (with a zone, where they have one): three at most."""
    servers = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            servers.append(str(ipaddress.ip_address(words[1])))
        except ValueError:
            # As the C library does: what is no address is skipped.
            continue
    return servers[:MAX_SERVERS]


def _key(name: str) -> str:
    """RFC 4343, 3: names that differ in case only are the same."""
    return name.removesuffix(".").lower()


def _same_question(payload: bytes, question: bytes) -> bool:
    """A response repeats the question, maybe in another case; a failure may leave it out: RFC 1035, 4.1.1."""
    count = int.from_bytes(payload[4:6], "big")
    if not count:
        return payload[3] & 0x0F != dns.NO_ERROR
    theirs = payload[dns.HEADER_LENGTH : dns.HEADER_LENGTH + len(question)]
    # Type and class may look like letters: lower() changes both sides alike, and only bytes that are letters.
    return count == 1 and theirs.lower() == question.lower() and theirs[-4:] == question[-4:]
