# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS, and who may come: our server and our list, against qemu-nbd's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from asyncemu.cli.nbd.authorization import distinguished_name, find_authorization
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.objects import UserObjects
from tests.block.nbd.tls_files import make_certificates
from tests.cli.nbd.conftest import OURS, THEIRS, Result, Servers, qemu_nbd, refused, run


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of them: a server for localhost, a client called "client"."""
    directory = tmp_path_factory.mktemp("tls") / "good"
    make_certificates(directory)
    return directory


def _credentials(directory: Path, endpoint: str) -> tuple[str, ...]:
    return "--object", f"tls-creds-x509,id=t0,endpoint={endpoint},dir={directory}", "--tls-creds=t0"


@pytest.mark.parametrize("words", [("--tls-creds=t1",), ("--tls-hostname=x",), ("-c", "/dev/nbd0")])
def test_bad_credentials_as_qemu_nbd(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    given = (*_credentials(certificates, "server"), *words, "-k", "/nonexistent/socket", "disk.raw")
    assert refused(monkeypatch, *given) == qemu_nbd(*given)


@pytest.mark.parametrize(("endpoint", "words"), [("client", ("disk.raw",)), ("server", ("-L",))])
def test_credentials_of_the_other_endpoint_are_refused_as_by_qemu_nbd(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, words: tuple[str, ...]
) -> None:
    given = (*_credentials(certificates, endpoint), "-k", "/nonexistent/socket", *words)
    assert refused(monkeypatch, *given) == qemu_nbd(*given)


def test_authorization_of_a_list_is_refused_as_by_qemu_nbd(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = (*_credentials(certificates, "client"), "--tls-authz=a0", "-k", "/nonexistent/socket", "-L")
    assert refused(monkeypatch, *given) == qemu_nbd(*given)


def test_missing_certificates_are_refused_as_by_qemu_nbd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = (*_credentials(tmp_path, "server"), "-k", "/nonexistent/socket", "disk.raw")
    assert refused(monkeypatch, *given) == qemu_nbd(*given)


LISTS: list[tuple[bool, tuple[str, ...]]] = [
    (True, ("--tls-hostname=localhost",)),
    (True, ("--tls-hostname=other",)),
    (True, ()),
    (False, ()),
]


@pytest.mark.parametrize(("with_credentials", "words"), LISTS)
def test_list_over_tls_as_qemu_nbd(
    servers: Servers, certificates: Path, monkeypatch: pytest.MonkeyPatch, with_credentials: bool, words: Sequence[str]
) -> None:
    server = servers.start(*_credentials(certificates, "server"), "-t", "-f", "raw", "disk.raw")
    credentials = _credentials(certificates, "client") if with_credentials else ()
    given = ("-L", "-k", str(server.socket), *credentials, *words)
    assert refused(monkeypatch, *given) == qemu_nbd(*given)


def test_our_list_knows_qemus_server(servers: Servers, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = servers.start(*_credentials(certificates, "server"), "-t", "-f", "raw", "disk.raw", program=THEIRS)
    given = ("-L", "-k", str(server.socket), *_credentials(certificates, "client"), "--tls-hostname=localhost")
    assert refused(monkeypatch, *given) == qemu_nbd(*given)


def _served(servers: Servers, program: Sequence[str], certificates: Path, *words: str) -> tuple[bool, str]:
    """Does a server with these words let the client come; its complaints."""
    server = servers.start(
        *_credentials(certificates, "server"), *words, "-t", "-f", "raw", "disk.raw", program=program
    )
    client = (*_credentials(certificates, "client"), "--tls-hostname=localhost")
    found: Result = qemu_nbd("-L", "-k", str(server.socket), *client)
    server.stop()
    return found.status == 0, server.errors()


AUTHORIZATIONS = [
    ("authz-simple,id=a0,identity=CN=client",),
    ("authz-simple,id=a0,identity=CN=other",),
    ("authz-list,id=a0,policy=deny,rules.0.match=CN=cli*,rules.0.policy=allow,rules.0.format=glob",),
    ("authz-list,id=a0,policy=allow,rules.0.match=CN=client,rules.0.policy=deny",),
    (),
]


@pytest.mark.parametrize("objects", AUTHORIZATIONS)
def test_authorization_as_qemu_nbd(servers: Servers, certificates: Path, objects: tuple[str, ...]) -> None:
    words = (*(word for text in objects for word in ("--object", text)), "--tls-authz=a0")
    assert _served(servers, OURS, certificates, *words) == _served(servers, THEIRS, certificates, *words)


def test_nbdcopy_over_tls_has_the_data(servers: Servers, certificates: Path, tmp_path: Path) -> None:
    server = servers.start(*_credentials(certificates, "server"), "-f", "raw", "disk.raw")
    uri = f"nbds+unix://localhost/?socket={server.socket}&tls-certificates={certificates}&tls-hostname=localhost"
    run("nbdcopy", "--connections=1", uri, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "disk.raw").read_bytes()
    assert server.wait() == 0


def test_io_is_a_client_with_credentials_of_the_command_line(servers: Servers, certificates: Path) -> None:
    server = servers.start(*_credentials(certificates, "server"), "-f", "raw", "disk.raw")
    image = f"driver=nbd,server.type=unix,server.path={server.socket},tls-creds=t0,tls-hostname=localhost"
    credentials = f"tls-creds-x509,id=t0,endpoint=client,dir={certificates}"
    words = ("--object", credentials, "--image-opts", image, "-c", "read -v 0 16", "-c", "info")
    output = run(sys.executable, "-c", "from asyncemu.cli.io import script; script()", *words, status=1)
    assert "00000000:  00 01 02 03" in output
    assert output.endswith("format name: nbd\nformat name: nbd+unix\n")
    assert server.wait() == 0


def test_distinguished_name_is_written_as_rfc_4514_has_it() -> None:
    subject = (
        (("countryName", "GB"),),
        (("organizationName", 'Example, "Org" '),),
        (("organizationalUnitName", "a+b"), ("commonName", "#c")),
    )
    assert distinguished_name(subject) == 'C=GB,O=Example\\, \\"Org\\"\\ ,OU=a\\+b+CN=\\#c'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("authz-list,id=a,rules.0.match=x", "Parameter 'rules.0.policy' is missing"),
        ("authz-list,id=a,rules.0.policy=allow", "Parameter 'rules.0.match' is missing"),
        ("authz-list,id=a,rules.0.policy=x,rules.0.match=y", "Parameter 'rules.0.policy' does not accept value 'x'"),
        ("authz-list,id=a,rules.0.bogus=x", "Parameter 'rules.0.bogus' is unexpected"),
        ('{"qom-type":"authz-list","id":"a","rules":[3]}', "Invalid parameter type for 'rules.0', expected: object"),
    ],
)
def test_bad_rules_are_refused(text: str, problem: str) -> None:
    objects = UserObjects()
    objects.add(text)
    with pytest.raises(ToolError) as caught:
        find_authorization(objects, "a")
    assert str(caught.value) == problem
