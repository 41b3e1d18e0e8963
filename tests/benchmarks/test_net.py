# SPDX-License-Identifier: GPL-2.0-or-later
"""What the net benchmark reads of the guest, what its server does, and that both sides get the same network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.emulators import Guest, Qemu, vm_toml
from benchmarks.errors import BenchmarkError
from benchmarks.net import COUNTS, Result, measurements, parse_netbench
from benchmarks.net_server import ORDER, Kind, NetServer


def line(mode: str, result: Result) -> str:
    return (
        f"netbench: {mode} count={result.count} failed={result.failed} total_ns={result.total} "
        f"median_ns={result.median} p99_ns={result.p99}\r\n"
    )


results = st.fixed_dictionaries(
    {mode: st.builds(Result, st.just(count), *[st.integers(0, 10**12)] * 4) for mode, count in COUNTS.items()}
)


@given(results)
def test_parse_netbench_inverts_formatting(expected: dict[str, Result]) -> None:
    output = "".join(line(mode, result) for mode, result in expected.items())

    assert parse_netbench(f"netbench: eth0 is up\r\n{output}") == expected


def test_parse_netbench_mode_failed_quotes_the_guest() -> None:
    output = line("tcp-send", Result(COUNTS["tcp-send"], 0, 1, 1, 1)) + "netbench: cannot connect\r\n"

    with pytest.raises(BenchmarkError, match="no result of tcp-receive: cannot connect"):
        parse_netbench(output)


@given(st.text(max_size=100))
def test_parse_netbench_of_any_other_text_raises_benchmark_error(text: str) -> None:
    with pytest.raises(BenchmarkError, match="netbench gave no result of tcp-send"):
        parse_netbench(text)


def test_measurements_twice_as_fast_is_half_the_peers_time() -> None:
    ours = {mode: Result(count, 0, 100, 10, 20) for mode, count in COUNTS.items()}
    theirs = {mode: Result(count, 0, 200, 20, 40) for mode, count in COUNTS.items()}

    rows = {row.name: row.ratio for row in measurements([ours], [theirs])}

    assert rows["TCP to the host"] == rows["TCP round trip, median"] == rows["a connection, one by one"] == 0.5


def test_both_sides_have_a_user_network_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with_it = Guest(Path("/g/Image"), Path("/g/initrd"), Path("/g/disk"), "x", network=True)
    without = Guest(with_it.kernel, with_it.initrd, with_it.disk, "x")

    assert 'type = "user"' in vm_toml(with_it)
    assert "user,id=net0" in Qemu(tmp_path).command(with_it)
    assert "netdev" not in vm_toml(without)
    assert "-netdev" not in Qemu(tmp_path).command(without)


# ---- the server


@pytest.fixture
def server() -> Iterator[NetServer]:
    with NetServer() as server:
        yield server


def connect(server: NetServer, kind: Kind, count: int = 0) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(ORDER.pack(kind, count))
    return connection


def read_all(connection: socket.socket) -> bytes:
    with connection, connection.makefile("rb") as stream:
        return stream.read()


def test_server_sink_answers_when_it_has_all(server: NetServer) -> None:
    connection = connect(server, Kind.SINK, 1_000_000)
    connection.sendall(bytes(999_999))
    connection.sendall(b"x")

    assert connection.recv(10) == b"!"
    connection.close()


def test_server_source_sends_so_many_bytes(server: NetServer) -> None:
    assert len(read_all(connect(server, Kind.SOURCE, 1_000_001))) == 1_000_001


def test_server_echo_sends_back_until_the_end(server: NetServer) -> None:
    connection = connect(server, Kind.ECHO)
    connection.sendall(b"one")
    first = connection.recv(10)
    connection.shutdown(socket.SHUT_WR)

    assert (first, read_all(connection)) == (b"one", b"")


def test_server_greet_sends_one_byte_and_closes(server: NetServer) -> None:
    assert read_all(connect(server, Kind.GREET)) == b"!"


def test_server_connection_without_an_order_is_closed_and_others_go_on(server: NetServer) -> None:
    socket.create_connection(("127.0.0.1", server.port)).close()

    assert read_all(connect(server, Kind.GREET)) == b"!"


def test_server_datagram_comes_back(server: NetServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(10)
        datagrams.sendto(b"hello", ("127.0.0.1", server.port))

        assert datagrams.recv(10) == b"hello"
