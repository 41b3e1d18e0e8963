# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS credentials. QEMU: tls-creds-x509, with the names of its files.

A directory holds ``ca-cert.pem``, ``server-cert.pem``, ``server-key.pem``, ``client-cert.pem``, ``client-key.pem``, and
perhaps ``ca-crl.pem``. Another kind of credentials (pre-shared keys) is another class with ``wrap``. What NBD and
character back ends share; a machine, and a tool that has no TLS, load nothing for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, Protocol

from asyncemu.errors import ConfigError

if TYPE_CHECKING:
    import ssl


class TlsCredentials(Protocol):
    """Of one endpoint; any number of connections."""

    endpoint: Literal["server", "client"]
    #: Is it looked at who the other one is?
    verify_peer: bool

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_name: str | None) -> ssl.SSLObject:
        """TLS for one connection. ``server_name``: what the server's certificate is to be for; None: not looked at."""


class X509Credentials:
    """Certificates in ``directory``. ConfigError when files are missing or are none."""

    def __init__(
        self,
        directory: str,
        endpoint: Literal["server", "client"],
        *,
        verify_peer: bool = True,
        where: str = "tls-creds",
    ) -> None:
        self.endpoint = endpoint
        self.verify_peer = verify_peer
        self._context = self._load(directory, where)
        # A context of its own, as whether names are checked is the context's matter, and other threads may use it.
        self._checking_names: ssl.SSLContext | None = None
        if endpoint == "client" and verify_peer:
            self._checking_names = self._load(directory, where)
            self._checking_names.check_hostname = True

    def _load(self, directory: str, where: str) -> ssl.SSLContext:
        # Imported here: most runs have no TLS, and it takes a third of the time in which a tool is to start.
        import ssl

        server = self.endpoint == "server"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED if self.verify_peer else ssl.CERT_NONE
        certificate, key, authority, revoked = (
            os.path.join(directory, name)  # noqa: PTH118  # pathlib takes a tool too long to import
            for name in (f"{self.endpoint}-cert.pem", f"{self.endpoint}-key.pem", "ca-cert.pem", "ca-crl.pem")
        )
        # A client may do without a certificate of its own, a server may not.
        for path in (authority, certificate, key) if server else (authority,):
            if not os.access(path, os.R_OK):
                raise ConfigError(where, f"Unable to access credentials {path}: No such file or directory")
        try:
            context.load_verify_locations(authority)
            if os.access(revoked, os.R_OK):
                context.load_verify_locations(revoked)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
            if os.access(certificate, os.R_OK):
                context.load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(where, f"the certificates in {directory} can't be used: {error}") from error
        return context

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_name: str | None) -> ssl.SSLObject:
        """See TlsCredentials."""
        context = self._context
        if server_name is not None and self._checking_names is not None:
            context = self._checking_names
        server = self.endpoint == "server"
        return context.wrap_bio(incoming, outgoing, server_side=server, server_hostname=None if server else server_name)
