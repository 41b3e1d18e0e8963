# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS credentials from ``--object tls-creds-x509``."""

from __future__ import annotations

from typing import Literal

from asyncemu.block.nbd.tls import X509Credentials
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.objects import UserObject
from asyncemu.errors import ConfigError


def credentials_of(found: UserObject) -> X509Credentials:
    """Those that the object describes. ToolError: its files can't be used."""
    endpoint: Literal["client", "server"] = "server" if found.text("endpoint", "client") == "server" else "client"
    verify = found.properties.get("verify-peer", True) is True
    try:
        return X509Credentials(found.text("dir"), endpoint, verify_peer=verify)
    except ConfigError as error:
        raise ToolError(error.problem) from error
