# SPDX-License-Identifier: GPL-2.0-or-later
"""A web server in a thread of its own, which does as the tests want it to."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

#: No multiple of anything.
SIZE = 3_000_001


class WebServer(ThreadingHTTPServer):
    """One file, at /disk.img; what was asked for, and how to answer."""

    daemon_threads = True
    #: More than the driver has connections.
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = random.Random(5).randbytes(SIZE)
        #: (method, path, range) in the order of their arrival; connections that were made.
        self.requests: list[tuple[str, str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        # ---- how to answer
        self.status = 0
        self.ranges = True
        self.tells_length = True
        self.ignores_ranges = False
        self.shift = 0
        self.total: int | None = None
        #: Bytes of a body that are sent before the connection is closed; None: all.
        self.cut: int | None = None
        #: Bodies wait for it behind their first half.
        self.gate = threading.Event()
        self.gate.set()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes in the middle of an answer is no news."""

    @property
    def url(self) -> str:
        """Of the file."""
        return f"http://127.0.0.1:{self.server_address[1]}/disk.img"

    def ranges_asked(self) -> list[tuple[int, int]]:
        """Start and length of each range, in the order of their arrival."""
        asked = [each.removeprefix("bytes=").split("-") for method, _, each in self.requests if method == "GET"]
        return [(int(first), int(last) - int(first) + 1) for first, last in asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at ``requests``."""

    def do_HEAD(self) -> None:
        """The size."""
        if self._begin():
            self.send_response(200)
            if self.server.tells_length:
                self.send_header("Content-Length", str(len(self.server.content)))
            if self.server.ranges:
                self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            self.close_connection = self.close_connection or not self.server.tells_length

    def do_GET(self) -> None:
        """A range."""
        if not self._begin():
            return
        server = self.server
        first, last = (int(each) for each in self.headers["Range"].removeprefix("bytes=").split("-"))
        body = server.content[first : last + 1]
        if server.ignores_ranges:
            self.send_response(200)
        else:
            self.send_response(206)
            total = len(server.content) if server.total is None else server.total
            start = first + server.shift
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{total}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        server.gate.wait(20)
        if server.cut is not None:
            self.wfile.write(body[half : max(server.cut, half)])
            self.close_connection = True
            return
        self.wfile.write(body[half:])

    def _begin(self) -> bool:
        server = self.server
        server.requests.append((self.command, self.path, self.headers.get("Range", "")))
        server.headers.append(dict(self.headers))
        if self.path == "/moved.img":
            self.send_response(302)
            self.send_header("Location", "/disk.img")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        if server.status or not self.path.endswith("/disk.img"):
            self.send_response(server.status or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        return True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """It runs until the end of the test."""
    # Whatever proxy the tests are run behind, it is not for this.
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = WebServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()
