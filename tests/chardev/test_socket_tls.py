# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS over a socket; its peers: the openssl program, and Python's ssl. Certificates are openssl's."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev.socket import Socket
from asyncemu.errors import ConfigError
from asyncemu.tls_credentials import X509Credentials
from tests.block.nbd.tls_files import make_certificates
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import GUARD, Messages, Recorder


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls") / "pki"
    make_certificates(directory)
    return directory


def client_context(certificates: Path, *, with_certificate: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates / "ca-cert.pem")
    if with_certificate:
        context.load_cert_chain(certificates / "client-cert.pem", certificates / "client-key.pem")
    return context


async def tls_server(
    make_chardev: MakeChardev, recorder: Recorder, certificates: Path, *, verify_peer: bool = True, **keys: object
) -> Socket:
    table = {"dir": str(certificates), "verify-peer": verify_peer}
    chardev: Socket = make_chardev("socket", host="127.0.0.1", port=0, server=True, wait=False, tls_creds=table, **keys)
    chardev.attach(recorder)
    await chardev.open()
    return chardev


def port_of(chardev: Socket) -> int:
    return int(chardev.address.rpartition(":")[2])


async def connect(chardev: Socket, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(GUARD):
        return await asyncio.open_connection("127.0.0.1", port_of(chardev), ssl=context, server_hostname="localhost")


async def test_server_client_with_certificate_exchanges_bytes(make_chardev: MakeChardev, certificates: Path) -> None:
    recorder = Recorder()
    chardev = await tls_server(make_chardev, recorder, certificates)
    reader, writer = await connect(chardev, client_context(certificates))

    writer.write(b"to the guest")
    await recorder.until_received(b"to the guest")
    chardev.write(b"from the guest")
    received = await reader.readexactly(14)
    writer.close()
    await recorder.until_event(ChardevEvent.CLOSED)

    assert received == b"from the guest"


async def test_server_much_both_ways_arrives_whole(make_chardev: MakeChardev, certificates: Path) -> None:
    recorder = Recorder(limit=1000)
    chardev = await tls_server(make_chardev, recorder, certificates)
    reader, writer = await connect(chardev, client_context(certificates))
    data = os.urandom(300_000)

    writer.write(data)
    while len(recorder.received) < len(data):
        await recorder.until(lambda: len(recorder.received) == recorder.limit)
        recorder.limit = min(recorder.limit + 50_000, len(data))
        chardev.accept_input()
    sent, received = 0, b""
    while len(received) < len(data):
        sent += chardev.write(data[sent:])
        received += await reader.read(1 << 16)
    writer.close()

    assert recorder.received == data
    assert received == data


async def test_server_client_without_certificate_is_refused(
    make_chardev: MakeChardev, certificates: Path, messages: Messages
) -> None:
    recorder = Recorder()
    chardev = await tls_server(make_chardev, recorder, certificates)

    # In TLS 1.3 a client learns of it behind the handshake.
    reader, writer = await connect(chardev, client_context(certificates, with_certificate=False))
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await reader.readexactly(1)
    writer.close()

    assert await messages.until_first() == "console: TLS handshake failed: PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert recorder.events == []


async def test_server_that_does_not_verify_lets_anybody_in(make_chardev: MakeChardev, certificates: Path) -> None:
    recorder = Recorder()
    chardev = await tls_server(make_chardev, recorder, certificates, verify_peer=False)

    _, writer = await connect(chardev, client_context(certificates, with_certificate=False))
    writer.write(b"x")
    await recorder.until_received(b"x")
    writer.close()


async def test_server_client_without_tls_is_refused_and_the_next_one_served(
    make_chardev: MakeChardev, certificates: Path, messages: Messages
) -> None:
    recorder = Recorder()
    chardev = await tls_server(make_chardev, recorder, certificates)
    with socket.create_connection(("127.0.0.1", port_of(chardev)), GUARD) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        message = await messages.until_first()

    _, writer = await connect(chardev, client_context(certificates))
    await recorder.until_event(ChardevEvent.OPENED)
    writer.close()

    assert message == "console: TLS handshake failed: HTTP_REQUEST"


async def test_server_front_end_without_room_gets_what_a_client_that_left_had_sent(
    make_chardev: MakeChardev, certificates: Path
) -> None:
    recorder = Recorder(limit=1)
    chardev = await tls_server(make_chardev, recorder, certificates)

    def send_and_leave() -> None:
        with (
            socket.create_connection(("127.0.0.1", port_of(chardev)), GUARD) as plain,
            client_context(certificates).wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(b"farewell")

    await asyncio.to_thread(send_and_leave)
    await recorder.until_received(b"f")
    recorder.limit = 100
    chardev.accept_input()
    await recorder.until_event(ChardevEvent.CLOSED)

    assert recorder.received == b"farewell"


async def test_server_websocket_inside_of_tls(make_chardev: MakeChardev, certificates: Path) -> None:
    import aiohttp

    recorder = Recorder()
    chardev = await tls_server(make_chardev, recorder, certificates, websocket=True)
    connector = aiohttp.TCPConnector(ssl=client_context(certificates))

    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(f"wss://{chardev.address}/", server_hostname="localhost") as client,
    ):
        await client.send_bytes(b"in")
        await recorder.until_received(b"in")
        chardev.write(b"out")
        received = await client.receive_bytes()

    assert received == b"out"


async def test_openssl_client_types_and_reads(make_chardev: MakeChardev, certificates: Path) -> None:
    recorder = Recorder()
    chardev = await tls_server(make_chardev, recorder, certificates)
    files = [f"-CAfile={certificates}/ca-cert.pem", f"-cert={certificates}/client-cert.pem"]
    arguments = [word for file in [*files, f"-key={certificates}/client-key.pem"] for word in file.split("=")]
    program = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-quiet", "-verify_return_error", "-connect", chardev.address, *arguments,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert program.stdin is not None
    assert program.stdout is not None

    program.stdin.write(b"who\n")
    await recorder.until_received(b"who\n")
    chardev.write(b"root\n")
    async with asyncio.timeout(GUARD):
        shown = await program.stdout.readexactly(5)
    program.kill()
    await program.wait()

    assert shown == b"root\n"


# ---- client


async def server_of_python(certificates: Path, *, cert: str = "server") -> asyncio.Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / f"{cert}-cert.pem", certificates / f"{cert}-key.pem")
    context.load_verify_locations(certificates / "ca-cert.pem")
    context.verify_mode = ssl.CERT_REQUIRED

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    return await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)


async def test_client_server_of_the_authority_is_trusted(make_chardev: MakeChardev, certificates: Path) -> None:
    recorder = Recorder()
    async with await server_of_python(certificates) as server:
        port = server.sockets[0].getsockname()[1]
        chardev = make_chardev("socket", host="localhost", ipv4=True, port=port, tls_creds={"dir": str(certificates)})
        chardev.attach(recorder)
        await chardev.open()
        chardev.write(b"echo")
        await recorder.until_received(b"echo")
        await chardev.close()


async def test_client_certificate_for_another_host_is_refused(make_chardev: MakeChardev, certificates: Path) -> None:
    async with await server_of_python(certificates) as server:
        port = server.sockets[0].getsockname()[1]
        chardev = make_chardev("socket", host="127.0.0.1", port=port, tls_creds={"dir": str(certificates)})

        with pytest.raises(ConfigError) as caught:
            await chardev.open()

    problem = f"connect to 127.0.0.1:{port}: TLS handshake failed: CERTIFICATE_VERIFY_FAILED"
    assert str(caught.value) == f"chardev 'console': {problem}"


async def test_client_peer_hangs_up_in_the_handshake_is_one_line(make_chardev: MakeChardev, certificates: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        chardev = make_chardev("socket", host="127.0.0.1", port=port, tls_creds={"dir": str(certificates)})
        opening = asyncio.ensure_future(chardev.open())
        server.setblocking(False)
        connection, _ = await asyncio.get_running_loop().sock_accept(server)
        connection.close()

        with pytest.raises(ConfigError) as caught:
            await opening

    problem = f"connect to 127.0.0.1:{port}: the peer hung up during the handshake"
    assert str(caught.value) == f"chardev 'console': {problem}"


async def test_client_that_reconnects_complains_of_the_same_once(
    make_chardev: MakeChardev, certificates: Path, messages: Messages
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        table = {"dir": str(certificates)}
        port = server.getsockname()[1]
        chardev = make_chardev("socket", host="127.0.0.1", port=port, reconnect=0.001, tls_creds=table)
        await chardev.open()
        for _ in range(3):
            connection, _ = await asyncio.get_running_loop().sock_accept(server)
            connection.close()
        await chardev.close()

    assert messages.texts == ["console: the peer hung up during the handshake"]


# ---- credentials


async def test_credentials_by_their_id_are_the_machines(make_chardev: MakeChardev, certificates: Path) -> None:
    recorder = Recorder()
    chardev = make_chardev("socket", host="127.0.0.1", port=0, server=True, wait=False, tls_creds="tls0")
    chardev.tls_credentials = {"tls0": X509Credentials(str(certificates), "server")}
    chardev.attach(recorder)
    await chardev.open()

    _, writer = await connect(chardev, client_context(certificates))
    await recorder.until_event(ChardevEvent.OPENED)
    writer.close()


async def test_credentials_of_an_unknown_id_are_one_line(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("socket", host="127.0.0.1", port=0, server=True, wait=False, tls_creds="tls0")

    with pytest.raises(ConfigError) as caught:
        await chardev.open()

    assert str(caught.value) == "chardev 'console': No TLS credentials with id 'tls0'"


async def test_credentials_of_the_other_endpoint_are_one_line(make_chardev: MakeChardev, certificates: Path) -> None:
    chardev = make_chardev("socket", host="127.0.0.1", port=0, server=True, wait=False, tls_creds="tls0")
    chardev.tls_credentials = {"tls0": X509Credentials(str(certificates), "client")}

    with pytest.raises(ConfigError) as caught:
        await chardev.open()

    assert str(caught.value) == "chardev 'console': Expected TLS credentials for a server endpoint"


async def test_credentials_without_files_are_one_line(make_chardev: MakeChardev, tmp_path: Path) -> None:
    table = {"dir": str(tmp_path)}
    chardev = make_chardev("socket", host="127.0.0.1", port=0, server=True, wait=False, tls_creds=table)

    with pytest.raises(ConfigError) as caught:
        await chardev.open()

    problem = f"Unable to access credentials {tmp_path}/ca-cert.pem: No such file or directory"
    assert str(caught.value) == f"chardev 'console': {problem}"
