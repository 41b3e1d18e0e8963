# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates for a test, made by the openssl program, under QEMU's file names."""

from __future__ import annotations

import subprocess
from pathlib import Path


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60)


def make_certificates(directory: Path) -> None:
    """A certificate authority of its own, a server's certificate for localhost, and a client's."""
    directory.mkdir()
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["-x509", "-days", "30", "-subj", "/CN=test authority", "-addext", "keyUsage=critical,keyCertSign"]
    _openssl(directory, "req", *curve, *authority, "-keyout", "ca-key.pem", "-out", "ca-cert.pem")
    for name, subject, extensions in (
        ("server", "localhost", "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n"),
        ("client", "client", "extendedKeyUsage=clientAuth\n"),
    ):
        (directory / f"{name}.ext").write_text(extensions)
        key, request, certificate = f"{name}-key.pem", f"{name}.csr", f"{name}-cert.pem"
        _openssl(directory, "req", *curve, "-subj", f"/CN={subject}", "-keyout", key, "-out", request)
        signing = ["-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-extfile", f"{name}.ext"]
        _openssl(directory, "x509", "-req", "-days", "30", "-in", request, *signing, "-out", certificate)
