# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of the driver: what they mean, and QEMU's words for those that mean nothing."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.nbd.address import Address, InetAddress, UnixAddress
from asyncemu.block.nbd.client_options import NbdOptions, address_of
from asyncemu.block.nbd.tls import X509Credentials
from asyncemu.errors import ConfigError
from tests.block.nbd.conftest import Serve


def options(**table: Any) -> NbdOptions:
    """As from a file."""
    return NbdOptions.parse(table, "blockdev")


@pytest.mark.parametrize(
    ("table", "address"),
    [
        ({"server": {"type": "unix", "path": "a"}}, UnixAddress("a")),
        ({"server": {"type": "inet", "host": "h", "port": "1"}}, InetAddress("h", "1")),
        (
            {"server": {"type": "inet", "host": "h", "port": "1", "ipv6": False}},
            InetAddress("h", "1", socket.AF_INET),
        ),
        (
            {"server": {"type": "inet", "host": "h", "port": "1", "ipv4": False}},
            InetAddress("h", "1", socket.AF_INET6),
        ),
        ({"path": "a"}, UnixAddress("a")),
        ({"host": "h"}, InetAddress("h", "10809")),
        ({"host": "h", "port": "1"}, InetAddress("h", "1")),
    ],
)
def test_address_of_options(table: dict[str, Any], address: Address) -> None:
    assert address_of(options(**table)) == address


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "NBD server address missing"),
        ({"path": "a", "host": "h"}, "path and host may not be used at the same time"),
        ({"port": "1"}, "port may not be used without host"),
        (
            {"server": {"type": "unix", "path": "a"}, "host": "h"},
            "Cannot use 'server' and path/host/port at the same time",
        ),
        ({"server": {"type": "unix"}}, "Parameter 'path' is missing"),
        ({"server": {"type": "inet", "port": "1"}}, "Parameter 'host' is missing"),
        ({"server": {"type": "inet", "host": "h"}}, "Parameter 'port' is missing"),
    ],
)
def test_address_of_options_that_name_none(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        address_of(options(**table))
    assert raised.value.problem == problem


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"path": "{}/none.sock"}, "Failed to connect to '{}/none.sock': No such file or directory"),
        ({"host": "127.0.0.1", "port": "1"}, "Failed to connect to '127.0.0.1:1': Connection refused"),
        (
            {"host": "host.invalid", "port": "1"},
            "address resolution failed for host.invalid:1: Name or service not known",
        ),
        ({"path": "{}/server0.sock", "export": "e" * 5000}, "export name too long to send to server"),
        ({"path": "{}/server0.sock", "x-dirty-bitmap": "e" * 5000}, "x-dirty-bitmap query too long to send to server"),
        ({"path": "{}/server0.sock", "tls-creds": "t"}, "No TLS credentials with id 't'"),
        (
            {"path": "{}/server0.sock", "tls-creds": {"dir": "{}"}},
            "Unable to access credentials {}/ca-cert.pem: No such file or directory",
        ),
        (
            {"path": "{}/server0.sock"},
            "Requested export not available\nserver reported: export '' not present",
        ),
        (
            {"path": "{}/server0.sock", "export": "disk", "x-dirty-bitmap": "qemu:dirty-bitmap:b"},
            "requested x-dirty-bitmap qemu:dirty-bitmap:b not found",
        ),
    ],
)
async def test_open_that_fails_has_qemus_words(
    graph: BlockGraph, serve: Serve, tmp_path: Path, table: dict[str, Any], problem: str
) -> None:
    await serve()

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(each) for key, each in value.items()}
        return value.replace("{}", str(tmp_path))

    with pytest.raises(ConfigError) as raised:
        await graph.add_table({"driver": "nbd", **filled(table)}, "blockdev")
    assert raised.value.problem.replace("Temporary failure in name resolution", "Name or service not known") == (
        problem.replace("{}", str(tmp_path))
    )


async def test_credentials_by_id_are_those_of_the_graph(graph: BlockGraph, serve: Serve, certificates: Path) -> None:
    directory = str(certificates / "good")
    served = await serve(tls=X509Credentials(directory, "server"))
    graph.tls_credentials["client"] = X509Credentials(directory, "client")
    graph.tls_credentials["server"] = X509Credentials(directory, "server")
    table = {"driver": "nbd", "path": str(served.path), "export": "disk", "tls-hostname": "localhost"}
    node = await graph.add_table({**table, "tls-creds": "client"}, "blockdev")
    assert len(await node.pread(0, 512)) == 512
    with pytest.raises(ConfigError, match=r"Expecting TLS credentials with a client endpoint$"):
        await graph.add_table({**table, "tls-creds": "server"}, "blockdev")


async def test_tcp_is_as_good(graph: BlockGraph, serve: Serve) -> None:
    served = await serve()
    (listener,) = await served.server.listen(InetAddress("127.0.0.1", "0"))
    port = str(listener.getsockname()[1])
    node = await graph.add_table({"driver": "nbd", "host": "127.0.0.1", "port": port, "export": "disk"}, "blockdev")
    assert len(await node.pread(0, 512)) == 512


@pytest.mark.parametrize("table", [{"reconnect-delay": -1}, {"connections": 0}, {"connections": 17}, {"foo": "x"}])
async def test_options_out_of_bounds_are_refused(graph: BlockGraph, table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        await graph.add_table({"driver": "nbd", "path": "a", **table}, "blockdev")
