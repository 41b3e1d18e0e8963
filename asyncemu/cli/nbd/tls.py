# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS credentials of the command line: an ``--object`` by its id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncemu.block.nbd.tls import X509Credentials
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.tls_objects import credentials_of
from asyncemu.errors import ConfigError

if TYPE_CHECKING:
    from asyncemu.cli.nbd.settings import Settings


def find_credentials(settings: Settings) -> X509Credentials:
    """Those that ``--tls-creds`` names, for a server or, with ``--list``, a client. ToolError."""
    identity = settings.tls_credentials
    assert identity is not None
    found = settings.objects.find("tls-creds-x509", identity)
    if found is None:
        other = settings.objects.find_any(identity)
        if other is None:
            raise ToolError(f"Failed to get TLS creds: No TLS credentials with id '{identity}'")
        raise ToolError(f"Failed to get TLS creds: Object with id '{identity}' is not TLS credentials")
    wanted = "client" if settings.list else "server"
    if found.text("endpoint", "client") != wanted:
        raise ToolError(f"Failed to get TLS creds: Expected TLS credentials for a {wanted} endpoint")
    if settings.tls_authorization is None:
        return credentials_of(found)
    from asyncemu.cli.nbd.authorization import AuthorizingCredentials, find_authorization

    authorization = find_authorization(settings.objects, settings.tls_authorization)
    try:
        return AuthorizingCredentials(found.text("dir"), authorization)
    except ConfigError as error:
        raise ToolError(error.problem) from error
