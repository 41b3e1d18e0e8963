# SPDX-License-Identifier: GPL-2.0-or-later
"""From an address to a server that is ready for requests."""

from __future__ import annotations

from typing import Final, NamedTuple

from asyncemu.block.nbd.address import Address, InetAddress, connect
from asyncemu.block.nbd.channel import Channel, SocketChannel, receive_some, send_all
from asyncemu.block.nbd.client_negotiation import Agreement, ClientNegotiation, Refused
from asyncemu.block.nbd.constants import BASE_ALLOCATION
from asyncemu.block.nbd.tls import TlsCredentials
from asyncemu.errors import ConfigError, ProtocolError

_RECEIVE_SIZE: Final = 16 << 10

#: QEMU's words for why a certificate is not trusted, by OpenSSL's numbers (X509_V_ERR_* of x509_vfy.h).
_DISTRUST: Final = {
    9: "The certificate is not yet activated",
    10: "The certificate has expired",
    18: "The certificate hasn't got a known issuer",
    19: "The certificate hasn't got a known issuer",
    20: "The certificate hasn't got a known issuer",
    21: "The certificate hasn't got a known issuer",
    23: "The certificate has been revoked",
    62: "Certificate does not match the hostname {}",
    64: "Certificate does not match the hostname {}",
}


class Server(NamedTuple):
    """How to get to one."""

    address: Address
    tls: TlsCredentials | None = None
    #: Whom its certificate must be for; empty: the host of the address, which a Unix socket has not.
    tls_hostname: str = ""

    @property
    def certified_name(self) -> str | None:
        """For TLS; None: nobody knows."""
        if self.tls_hostname:
            return self.tls_hostname
        return self.address.host if isinstance(self.address, InetAddress) else None


class Connected(NamedTuple):
    """A server that is ready for requests."""

    channel: Channel
    agreement: Agreement
    #: What it has sent already.
    rest: bytes


async def connect_to_export(server: Server, export: str, context: str = BASE_ALLOCATION) -> Connected:
    """Choose ``export``, with one metadata context. ConfigError, in QEMU's words."""
    negotiation = ClientNegotiation(export, tls=server.tls is not None, context=context, peer=str(server.address))
    try:
        channel = await negotiate(server, negotiation)
    except Refused as error:
        problem = "\n".join([error.problem, *error.hint.splitlines()])
        raise ConfigError("export", problem) from error
    except ProtocolError as error:
        raise ConfigError("server", error.problem) from error
    except OSError as error:
        raise ConfigError("server", error.strerror or str(error)) from error
    assert negotiation.agreement is not None
    return Connected(channel, negotiation.agreement, negotiation.rest())


async def negotiate(server: Server, negotiation: ClientNegotiation) -> Channel:
    """The channel, when there is an outcome. Refused, ProtocolError, OSError; ConfigError: no connection, or no TLS."""
    channel: Channel = SocketChannel(await connect(server.address))
    try:
        while not negotiation.done:
            if negotiation.starts_tls:
                channel = await _start_tls(server, channel)
                negotiation.tls_started()
            while (request := negotiation.step()) is not None:
                await send_all(channel, request)
            if negotiation.done or negotiation.starts_tls:
                continue
            data = await receive_some(channel, _RECEIVE_SIZE)
            if not data:
                raise negotiation.end()
            negotiation.receive(data)
    except BaseException as error:
        farewell = negotiation.farewell()
        if isinstance(error, Refused) and farewell:
            await _say(channel, farewell)
        channel.shutdown()
        channel.close()
        raise
    return channel


async def _say(channel: Channel, farewell: bytes) -> None:
    try:
        await send_all(channel, farewell)
    except OSError:  # it is gone: as good
        return


async def _start_tls(server: Server, channel: Channel) -> Channel:
    assert server.tls is not None
    import ssl

    from asyncemu.block.nbd.tls_channel import start_tls

    name = server.certified_name
    if name is None and server.tls.verify_peer:
        raise ConfigError("tls-hostname", "No hostname for certificate validation")
    try:
        return await start_tls(channel, server.tls, name)
    except ssl.SSLCertVerificationError as error:
        problem = _DISTRUST.get(error.verify_code, "The certificate is not trusted").format(name)
        raise ConfigError("tls-creds", problem) from error
    except ssl.SSLError as error:
        raise ConfigError("tls-creds", f"TLS handshake failed: {error.reason or error}") from error
