# SPDX-License-Identifier: GPL-2.0-or-later
"""http against a web server of Python's library."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode, drained, move_nodes
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ
from asyncemu.block.http.read_ahead import PIECES
from asyncemu.block.reopen import reopen
from asyncemu.coroutines import start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext, IOThread
from tests.block.http.conftest import SIZE, WebServer
from tests.block.nbd.tls_files import make_certificates

AHEAD = 64 << 10


async def remote(graph: BlockGraph, server: WebServer, **options: Any) -> BlockNode:
    table = {"driver": "http", "node-name": "web", "read-only": True, "url": server.url, "readahead": AHEAD}
    return await graph.add_table({**table, **{key.replace("_", "-"): value for key, value in options.items()}}, "b")


# ---- reading


@pytest.mark.both_loops
async def test_read_any_ranges_gives_what_the_server_has(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server)
    rng = random.Random(3)
    assert (node.size, node.read_only) == (SIZE, True)
    for _ in range(60):
        offset = rng.randrange(SIZE)
        length = rng.choice([1, 512, 4096, 300_000])
        expected = server.content[offset : offset + length].ljust(length, b"\0")
        assert await node.pread(offset, length) == expected


async def test_read_of_all_of_it_at_once(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server)
    assert await node.pread(0, SIZE) == server.content


async def test_sequential_reads_come_from_what_was_read_ahead(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server)
    for offset in range(0, 256 << 10, 4096):
        assert await node.pread(offset, 4096) == server.content[offset : offset + 4096]
    piece = 4096 + AHEAD
    assert server.ranges_asked() == [(start, piece) for start in range(0, 256 << 10, piece)]


async def test_read_within_a_piece_does_not_wait_for_its_end(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server)
    server.gate.clear()
    # The first half of the piece is sent, and the rest is held back.
    assert await node.pread(0, 4096) == server.content[:4096]
    assert await node.pread(4096, 4096) == server.content[4096:8192]
    behind = start(graph.context, node.pread(AHEAD - 4096, 4096))
    assert not behind.done()
    server.gate.set()
    assert await behind == server.content[AHEAD - 4096 : AHEAD]
    assert len(server.ranges_asked()) == 1


async def test_connections_stay_open(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server)
    for number in range(20):
        await node.pread(number * 100_000, 512)
    assert len(server.requests) == 21
    # Not more than pieces that may still have been on their way.
    assert server.connections <= PIECES + 1


async def test_reads_at_once_are_fetched_at_once_and_no_more_than_there_are_pieces(
    graph: BlockGraph, server: WebServer
) -> None:
    node = await remote(graph, server, readahead=0)
    server.gate.clear()
    offsets = [number * 100_000 for number in range(20)]
    reads = [start(graph.context, node.pread(offset, 65536)) for offset in offsets]
    async with asyncio.timeout(20):
        while len(server.ranges_asked()) < PIECES:
            await asyncio.sleep(0.001)
    server.gate.set()
    for offset, read in zip(offsets, reads, strict=True):
        assert await read == server.content[offset : offset + 65536]
    assert len(server.ranges_asked()) == 20


async def test_read_is_followed_to_another_address(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server, url=server.url.replace("disk", "moved"))
    assert await node.pread(1000, 100) == server.content[1000:1100]
    assert [path for _, path, _ in server.requests] == ["/moved.img", "/disk.img"] * 2


async def test_longer_reads_are_cut(graph: BlockGraph, server: WebServer) -> None:
    server.content = random.Random(6).randbytes(9 << 20)
    node = await remote(graph, server, readahead=0)
    assert await node.pread(0, 9 << 20) == server.content
    assert [length for _, length in server.ranges_asked()] == [4 << 20, 4 << 20, 1 << 20]


# ---- who asks


async def test_name_password_and_cookie_are_sent(graph: BlockGraph, server: WebServer) -> None:
    graph.secrets["word"] = b"secret"
    await remote(graph, server, username="user", password_secret="word", cookie="a=1; b=2")
    assert server.headers[0]["Authorization"] == "Basic dXNlcjpzZWNyZXQ="
    assert server.headers[0]["Cookie"] == "a=1; b=2"
    assert server.headers[0]["Accept-Encoding"] == "identity"


async def test_name_in_the_address_is_sent(graph: BlockGraph, server: WebServer) -> None:
    await remote(graph, server, url=server.url.replace("//", "//user:secret@"))
    assert server.headers[0]["Authorization"] == "Basic dXNlcjpzZWNyZXQ="


async def test_name_of_the_options_counts_more_than_that_in_the_address(graph: BlockGraph, server: WebServer) -> None:
    url = server.url.replace("//", "//other:word@")
    await remote(graph, server, url=url, username="user", password="secret")
    assert server.headers[0]["Authorization"] == "Basic dXNlcjpzZWNyZXQ="


async def test_proxy_of_the_environment_is_asked(
    graph: BlockGraph, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
    url = "http://disks.invalid/disk.img"
    node = await remote(graph, server, url=url, proxy_username="user", proxy_password="secret")
    assert await node.pread(0, 512) == server.content[:512]
    assert {path for _, path, _ in server.requests} == {url}
    assert server.headers[0]["Proxy-Authorization"] == "Basic dXNlcjpzZWNyZXQ="
    assert "Authorization" not in server.headers[0]


# ---- what is wrong at the beginning


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"ranges": False}, "CURL: Error opening file: Server does not support 'range' (byte ranges)."),
        ({"tells_length": False}, "CURL: Error opening file: Server didn't report file size."),
        ({"status": 404}, "CURL: Error opening file: The requested URL returned error: 404"),
        ({"status": 503}, "CURL: Error opening file: The requested URL returned error: 503"),
    ],
)
async def test_server_that_can_not_serve_a_disk_is_told(
    graph: BlockGraph, server: WebServer, answer: dict[str, Any], problem: str
) -> None:
    for name, value in answer.items():
        setattr(server, name, value)
    with pytest.raises(ConfigError) as caught:
        await remote(graph, server)
    assert caught.value.problem == problem
    assert graph.nodes == {}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"readahead": 100}, "HTTP_READAHEAD_SIZE 100 is not a multiple of 512"),
        ({"readahead": "1G"}, "must be at most 67108864, not 1073741824"),
        ({"timeout": 10001}, "timeout parameter is too large or negative"),
        ({"timeout": -1}, "timeout parameter is too large or negative"),
        ({"url": None}, "curl block driver requires an 'url' option"),
        (
            {"url": "ftp://h/x"},
            "http curl driver cannot handle the URL 'ftp://h/x' (does not start with 'http://')",
        ),
        ({"url": "http://"}, "names no host"),
        ({"url": "http://h:x/"}, "is no address: "),
        ({"cookie": "a", "cookie_secret": "b"}, "curl driver cannot handle both cookie and cookie secret"),
        ({"cookie": "a\r\nHost: b"}, "has characters that no header can have"),
        ({"password_secret": "zz", "username": "u"}, "No secret with id 'zz'"),
        ({"username": "u:v"}, "has a colon, which no user name can have"),
        ({"read_only": False}, "curl driver does not support writes"),
    ],
)
async def test_open_with_wrong_options_says_what_qemu_says(
    graph: BlockGraph, server: WebServer, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        await remote(graph, server, **options)
    assert caught.value.problem.startswith(problem)
    assert server.requests == []


async def test_https_has_addresses_of_its_own(graph: BlockGraph, server: WebServer) -> None:
    with pytest.raises(
        ConfigError, match=r"https curl driver cannot handle the URL .* \(does not start with 'https://'"
    ):
        await remote(graph, server, driver="https")


async def test_certificate_that_nobody_knows_is_refused_or_not_looked_at(
    graph: BlockGraph, server: WebServer, tmp_path: Path
) -> None:
    make_certificates(tmp_path / "tls")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "tls" / "server-cert.pem", tmp_path / "tls" / "server-key.pem")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(ConfigError, match="CURL: Error opening file: SSL certificate problem: "):
        await remote(graph, server, driver="https", url=url)
    node = await remote(graph, server, driver="https", url=url, sslverify=False)
    assert await node.pread(1000, 100) == server.content[1000:1100]


async def test_server_that_is_not_there_is_told(graph: BlockGraph, server: WebServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"Failed to connect to 127.0.0.1 port {port} after \d+ ms: Couldn't connect to server"
        ):
            await remote(graph, server, url=f"http://127.0.0.1:{port}/x")


async def test_server_that_speaks_no_http_is_told(graph: BlockGraph, server: WebServer) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\1\2 what?\r\n\r\n")
        writer.close()

    other = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    with pytest.raises(ConfigError, match="CURL: Error opening file: "):
        await remote(graph, server, url=f"http://127.0.0.1:{port}/x")
    other.close()
    await other.wait_closed()


@pytest.mark.slow
async def test_silent_server_is_given_up(graph: BlockGraph, server: WebServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ConfigError, match=r"Operation timed out after 1\d\d\d milliseconds"):
            await remote(graph, server, url=f"http://127.0.0.1:{port}/x", timeout=1)


async def test_without_aiohttp_the_extra_is_named(
    graph: BlockGraph, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ConfigError, match=r"needs aiohttp; pip install 'asyncemu\[http\]'"):
        await remote(graph, server)


async def test_writable_when_it_may_be_read_only_instead_is_read_only(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server, read_only=False, auto_read_only=True)
    assert node.read_only


# ---- what goes wrong later


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": 500}, "curl: The requested URL returned error: 500"),
        ({"ignores_ranges": True}, "curl: Server answers 200 to a range"),
        ({"shift": 1}, "curl: Server sends another range than the one asked for"),
        ({"total": 77}, f"curl: The file had {SIZE} bytes, and has 77 now"),
        ({"cut": 0}, "curl: Response payload is not completed"),
    ],
)
async def test_read_that_fails_is_eio_and_told_and_the_next_is_tried(
    graph: BlockGraph,
    server: WebServer,
    answer: dict[str, Any],
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = await remote(graph, server, readahead=0)
    before = {name: getattr(server, name) for name in answer}
    for name, value in answer.items():
        setattr(server, name, value)
    with pytest.raises(BlockError, match="web: read of 4096 bytes at 512: Input/output error") as caught:
        await node.pread(512, 4096)
    assert caught.value.errno == errno.EIO
    assert [record.message[: len(message)] for record in caplog.records] == [message]
    for name, value in before.items():
        setattr(server, name, value)
    assert await node.pread(512, 4096) == server.content[512:4608]


async def test_what_came_before_an_error_is_kept(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server)
    server.cut = 50_000
    assert await node.pread(0, 4096) == server.content[:4096]
    with pytest.raises(BlockError):
        await node.pread(60_000, 4096)
    server.cut = None
    assert await node.pread(20_000, 4096) == server.content[20_000:24_096]
    assert server.ranges_asked()[0] == (0, 4096 + AHEAD)


# ---- life


async def test_cancelled_read_leaves_the_others_alone(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server)
    server.gate.clear()
    first, second = (start(graph.context, node.pread(AHEAD, 4096)) for _ in range(2))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    server.gate.set()
    assert await second == server.content[AHEAD : AHEAD + 4096]


async def test_close_while_more_is_read_ahead(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server)
    server.gate.clear()
    await node.pread(0, 512)
    await graph.remove(node)
    assert graph.nodes == {}


async def test_drained_section_waits_for_reads_and_not_for_what_is_ahead(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server)
    server.gate.clear()
    read = start(graph.context, node.pread(0, 512))
    async with drained(node):
        assert read.done()


async def test_moved_node_reads_in_its_new_home(
    graph: BlockGraph, server: WebServer, context: AioContext, iothreads: list[IOThread]
) -> None:
    node = await remote(graph, server)
    backend = BlockBackend("b", context, PERM_CONSISTENT_READ, PERM_ALL)
    await backend.insert(node)
    assert await backend.pread(0, 512) == server.content[:512]
    home = iothreads[0].aio_context
    await move_nodes(node, home, [backend])
    assert await home.call(lambda: backend.pread(1 << 20, 512)) == server.content[1 << 20 :][:512]
    await home.call(backend.remove)
    await move_nodes(node, context)
    assert await node.pread(2 << 20, 512) == server.content[2 << 20 :][:512]


async def test_reopen_with_another_address_is_refused(graph: BlockGraph, server: WebServer) -> None:
    node = await remote(graph, server)
    with pytest.raises(ConfigError, match="Cannot change the option 'url'"):
        await reopen(graph, {node: {"url": server.url + "x", "read-only": True}}, keep=True)
    assert await node.pread(0, 512) == server.content[:512]
