# SPDX-License-Identifier: GPL-2.0-or-later
"""The server over TLS: with libnbd and QEMU as clients, and with those that it must not trust."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from asyncemu.block.nbd.tls import X509Credentials
from asyncemu.errors import ConfigError
from asyncemu.testing.waiting import until
from tests.block.nbd.conftest import Serve, Served
from tests.block.nbd.peer import Peer
from tests.block.nbd.programs import libnbd, output_of, run


def secure_uri(served: Served, certificates: Path) -> str:
    """For libnbd."""
    return f"nbds+unix:///disk?socket={served.path}&tls-certificates={certificates}"


async def test_libnbd_and_its_data_pass(serve: Serve, certificates: Path) -> None:
    served = await serve(tls=X509Credentials(str(certificates / "good"), "server"))
    script = """
h.set_uri_allow_local_file(True)
h.connect_uri(args[0])
data = bytes(range(256)) * 4096
h.pwrite(data, 0)
print(h.get_tls_negotiated(), h.pread(len(data), 0) == data, h.pread(1, 1000000))
cookies = [h.aio_pread(nbd.Buffer(65536), 65536 * i) for i in range(16)]
while cookies:
    cookies = [cookie for cookie in cookies if not h.aio_command_completed(cookie)]
    if cookies:
        h.poll(-1)
h.shutdown()
"""
    assert await libnbd(script, secure_uri(served, certificates / "good")) == "True True bytearray(b'@')\n"
    assert bytes(served.disk().data) == bytes(range(256)) * 4096
    assert served.reports == []


async def test_qemu_io_passes(serve: Serve, certificates: Path) -> None:
    served = await serve(tls=X509Credentials(str(certificates / "good"), "server"))
    creds = f"tls-creds-x509,id=t,endpoint=client,dir={certificates / 'good'}"
    image = f"driver=nbd,server.type=unix,server.path={served.path},export=disk,tls-creds=t,tls-hostname=localhost"
    commands = ("-c", "write -P 7 4k 300k", "-c", "read -P 7 4k 300k")
    ended = await run("qemu-io", "--object", creds, *commands, "--image-opts", image)
    assert (ended.code, ended.errors) == (0, "")


@pytest.mark.parametrize("path", ["other", "none"])
async def test_client_without_a_certificate_of_the_authority_is_refused(
    serve: Serve, certificates: Path, tmp_path: Path, path: str
) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "other").mkdir()
    for name in ("none", "other"):
        (tmp_path / name / "ca-cert.pem").write_bytes((certificates / "good" / "ca-cert.pem").read_bytes())
    for name in ("client-cert.pem", "client-key.pem"):
        (tmp_path / "other" / name).write_bytes((certificates / "other" / name).read_bytes())
    served = await serve(tls=X509Credentials(str(certificates / "good"), "server"))
    assert (await run("nbdinfo", secure_uri(served, tmp_path / path))).code != 0
    await until(lambda: served.reports != [])
    assert served.reports[0].startswith("option negotiation failed: ")


async def test_client_without_a_certificate_passes_when_it_is_not_verified(
    serve: Serve, certificates: Path, tmp_path: Path
) -> None:
    (tmp_path / "ca-cert.pem").write_bytes((certificates / "good" / "ca-cert.pem").read_bytes())
    served = await serve(tls=X509Credentials(str(certificates / "good"), "server", verify_peer=False))
    assert "TLS" in await output_of("nbdinfo", secure_uri(served, tmp_path))


async def test_client_without_tls_is_told_to_use_it(serve: Serve, certificates: Path) -> None:
    served = await serve(tls=X509Credentials(str(certificates / "good"), "server"))
    ended = await run("qemu-img", "info", served.uri())
    assert ended.errors.endswith("server reported: Option 0x7 not permitted before TLS\n")


@pytest.mark.parametrize("data", [b"this is no TLS" * 100, b"\x16\x03\x01\xff\xff" + bytes(70_000)])
async def test_client_that_breaks_the_tls_handshake_is_hung_up_on(
    serve: Serve, certificates: Path, data: bytes
) -> None:
    served = await serve(tls=X509Credentials(str(certificates / "good"), "server"))
    peer = await Peer.dial(served.path)
    assert await peer.ask(5) == [(5, 1, b"")]
    try:
        await peer.send(data)
        peer.socket.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    assert await peer.ended()
    await until(lambda: served.left == [False])
    assert len(served.reports) == 1


async def test_client_that_leaves_in_the_tls_handshake_is_let_go(serve: Serve, certificates: Path) -> None:
    served = await serve(tls=X509Credentials(str(certificates / "good"), "server"))
    peer = await Peer.dial(served.path)
    await peer.ask(5)
    peer.close()
    await until(lambda: served.left == [False])
    assert "hung up during the TLS handshake" in served.reports[0]


@pytest.mark.parametrize("missing", ["ca-cert.pem", "server-cert.pem", "server-key.pem"])
def test_credentials_without_a_file_are_refused(certificates: Path, tmp_path: Path, missing: str) -> None:
    for path in (certificates / "good").glob("*.pem"):
        if path.name != missing:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    problem = f"tls-creds: Unable to access credentials {tmp_path / missing}: No such file or directory"
    with pytest.raises(ConfigError) as raised:
        X509Credentials(str(tmp_path), "server")
    assert str(raised.value) == problem


def test_credentials_that_are_none_are_refused(certificates: Path, tmp_path: Path) -> None:
    for name in ("ca-cert.pem", "server-cert.pem", "server-key.pem"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(ConfigError, match=r"^tls-creds: the certificates in .* can't be used: "):
        X509Credentials(str(tmp_path), "server")
