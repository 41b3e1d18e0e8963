# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS credentials for NBD: see asyncemu/tls_credentials.py."""

from __future__ import annotations

from asyncemu.tls_credentials import TlsCredentials, X509Credentials

__all__ = ["TlsCredentials", "X509Credentials"]
