# SPDX-License-Identifier: GPL-2.0-or-later
"""The server, with clients that we did not write: nbdinfo, nbdcopy, qemu-img, qemu-io, libnbd."""

from __future__ import annotations

import ast
import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.cli.io.conftest import without_times
from tests.cli.nbd.conftest import OURS, THEIRS, Servers, run


def information(uri: str) -> dict[str, Any]:
    """nbdinfo's, without what names the socket."""
    found: dict[str, Any] = json.loads(run("nbdinfo", "--json", uri))
    for export in found["exports"]:
        export.pop("uri", None)
    return found


def test_server_ends_with_its_last_client(servers: Servers) -> None:
    server = servers.start("-f", "raw", "disk.raw")
    assert run("nbdinfo", "--size", server.uri) == "1048576\n"
    assert server.wait() == 0
    assert not server.socket.exists()
    assert server.errors() == ""


def test_persistent_server_stays_until_it_is_told(servers: Servers) -> None:
    server = servers.start("-t", "-f", "raw", "disk.raw")
    for _ in range(2):
        run("nbdinfo", "--size", server.uri)
    assert server.stop() == 0
    assert not server.socket.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_signal_ends_the_server_in_order(servers: Servers, number: int) -> None:
    server = servers.start("-f", "raw", "disk.raw")
    assert server.stop(number) == 0
    assert not server.socket.exists()


def test_client_that_only_looks_at_the_list_does_not_end_the_server(servers: Servers) -> None:
    server = servers.start("-f", "raw", "disk.raw")
    assert run("qemu-nbd", "-L", "-k", str(server.socket)).startswith("exports available: 1\n")
    assert run("nbdinfo", "--size", server.uri) == "1048576\n"
    assert server.wait() == 0


OFFERS = [
    ("-f", "raw", "disk.raw"),
    ("-f", "raw", "-e", "3", "disk.raw"),
    ("-f", "raw", "-r", "disk.raw"),
    ("-f", "raw", "-r", "-e", "3", "disk.raw"),
    ("-f", "raw", "-o", "0x200", "disk.raw"),
    ("-f", "raw", "-o", "1048576", "disk.raw"),
    ("-f", "raw", "-A", "-D", "a description", "disk.raw"),
    ("-f", "raw", "-s", "disk.raw"),
    ("-f", "raw", "--cache=none", "disk.raw"),
    ("--image-opts", "driver=raw,file.driver=file,file.filename=disk.raw,offset=512"),
]


@pytest.mark.parametrize("words", OFFERS, ids=[" ".join(words) for words in OFFERS])
def test_offer_as_qemu_nbd(servers: Servers, words: tuple[str, ...]) -> None:
    ours = servers.start("-t", *words)
    found = information(ours.uri)
    assert ours.stop() == 0
    theirs = servers.start("-t", *words, program=THEIRS)
    assert found == information(theirs.uri)


def test_lists_as_qemu_nbd(servers: Servers) -> None:
    server = servers.start("-t", "-f", "raw", "-x", "name", "-D", "a description", "-A", "-r", "disk.raw")
    listing = ("-L", "-k", str(server.socket))
    assert run(*OURS, *listing) == run("qemu-nbd", *listing)


def test_data_of_a_copy_are_those_of_the_image(servers: Servers, tmp_path: Path) -> None:
    server = servers.start("-t", "-e", "4", "-f", "raw", "disk.raw")
    run("nbdcopy", server.uri, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "disk.raw").read_bytes()
    (tmp_path / "other").write_bytes(b"\x5a" * (1 << 20))
    run("nbdcopy", str(tmp_path / "other"), server.uri)
    assert server.stop() == 0
    assert (tmp_path / "disk.raw").read_bytes() == (tmp_path / "other").read_bytes()


def test_qcow2_is_served_to_qemu_img(servers: Servers, tmp_path: Path) -> None:
    run("qemu-img", "convert", "-O", "qcow2", str(tmp_path / "disk.raw"), str(tmp_path / "disk.qcow2"))
    server = servers.start("-f", "qcow2", "disk.qcow2")
    assert run("qemu-img", "compare", "-f", "raw", "-F", "raw", server.uri, str(tmp_path / "disk.raw")) == (
        "Images are identical.\n"
    )
    assert server.wait() == 0


def test_writes_of_a_client_survive(servers: Servers, tmp_path: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "disk.qcow2"), "1M")
    server = servers.start("-f", "qcow2", "--discard=unmap", "--detect-zeroes=unmap", "disk.qcow2")
    run(
        "qemu-io", "-f", "raw", server.uri, "-c", "write -P 7 0 128k", "-c", "discard 64k 64k", "-c", "write -P 0 0 64k"
    )  # fmt: skip
    assert server.wait() == 0
    run("qemu-img", "check", "-q", str(tmp_path / "disk.qcow2"))
    assert run("qemu-io", "-f", "qcow2", str(tmp_path / "disk.qcow2"), "-c", "read -P 0 0 1M").startswith(
        "read 1048576"
    )
    assert run("qemu-img", "map", str(tmp_path / "disk.qcow2")).splitlines()[1:] == []


def test_snapshot_leaves_the_image_alone(servers: Servers, tmp_path: Path) -> None:
    before = (tmp_path / "disk.raw").read_bytes()
    server = servers.start("-s", "-f", "raw", "disk.raw")
    run("qemu-io", "-f", "raw", server.uri, "-c", "write -P 7 0 128k", "-c", "read -P 7 0 128k")
    assert server.wait() == 0
    assert (tmp_path / "disk.raw").read_bytes() == before


def test_read_only_export_refuses_writes(servers: Servers, tmp_path: Path) -> None:
    server = servers.start("-r", "-f", "raw", "disk.raw")
    run("qemu-io", "-f", "raw", server.uri, "-c", "write 0 1k", status=1)
    assert server.stop() == 0


@pytest.mark.parametrize("wanted", ["one", "1", "snapshot.name=one", "snapshot.id=1,snapshot.name=one"])
def test_internal_snapshot_is_served(servers: Servers, tmp_path: Path, wanted: str) -> None:
    image = str(tmp_path / "disk.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "1M")
    run("qemu-io", "-f", "qcow2", image, "-c", "write -P 1 0 64k")
    run("qemu-img", "snapshot", "-c", "one", image)
    run("qemu-io", "-f", "qcow2", image, "-c", "write -P 2 0 64k")
    server = servers.start("-l", wanted, "-f", "qcow2", "disk.qcow2")
    output = run("qemu-io", "-r", "-f", "raw", server.uri, "-c", "read -P 1 0 64k")
    assert "verification failed" not in output
    assert server.wait() == 0


def test_more_clients_than_shared_wait(servers: Servers) -> None:
    server = servers.start("-t", "-e", "1", "-f", "raw", "disk.raw")
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.settimeout(30)
        first.connect(str(server.socket))
        assert first.recv(18).startswith(b"NBDMAGIC")
        second.settimeout(0.2)
        second.connect(str(server.socket))
        with pytest.raises(TimeoutError):
            second.recv(18)
        first.close()
        second.settimeout(30)
        assert second.recv(18).startswith(b"NBDMAGIC")
    assert server.stop() == 0


def test_bad_client_is_told_of_and_hurts_nobody(servers: Servers) -> None:
    server = servers.start("-t", "-f", "raw", "disk.raw")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.socket))
        client.sendall(b"\x00\x00\x00\x03" + b"garbage" * 8)
        client.settimeout(30)
        while client.recv(4096):
            pass
    assert run("nbdinfo", "--size", server.uri) == "1048576\n"
    assert server.stop() == 0
    assert server.errors() == "qemu-nbd: option negotiation failed: Bad magic received\n"


def test_tcp_port_is_served_at_the_interface(servers: Servers, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # It has come back when clients can come.
    run(*OURS, "--fork", "-b", "127.0.0.1", "-p", str(port), "-f", "raw", str(tmp_path / "disk.raw"))
    assert run("nbdinfo", "--size", f"nbd://127.0.0.1:{port}") == "1048576\n"


def test_writethrough_makes_each_write_durable(servers: Servers, tmp_path: Path) -> None:
    # Flushes of the file fail, so does a write that waits for one.
    words = (
        "--image-opts", "driver=qcow2,file.driver=blkdebug,file.inject-error.0.event=none,"
        "file.inject-error.0.iotype=flush,file.image.driver=file,file.image.filename=disk.qcow2",
    )  # fmt: skip
    run("qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "disk.qcow2"), "1M")
    for mode, status in (("writeback", 0), ("writethrough", 1)):
        server = servers.start("-t", f"--cache={mode}", *words)
        run("qemu-io", "-t", "writeback", "-f", "raw", server.uri, "-c", "write 0 64k", status=status)
        server.stop()


def test_libnbd_sees_where_data_are(servers: Servers, tmp_path: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "disk.qcow2"), "1M")
    run("qemu-io", "-f", "qcow2", str(tmp_path / "disk.qcow2"), "-c", "write 64k 64k")
    server = servers.start("-A", "-f", "qcow2", "disk.qcow2")
    script = (
        "import nbd; h = nbd.NBD(); h.add_meta_context('base:allocation'); h.add_meta_context('qemu:allocation-depth');"
        f"h.connect_uri('{server.uri}'); found = {{}};"
        "h.block_status(1 << 20, 0, lambda name, offset, entries, error: found.update({name: list(entries)}) or 0);"
        "print(sorted(found.items())); h.shutdown()"
    )
    found = ast.literal_eval(run("/usr/bin/python3", "-c", script))
    assert found == [
        ("base:allocation", [65536, 3, 65536, 0, 917504, 3]),
        ("qemu:allocation-depth", [65536, 0, 65536, 1, 917504, 0]),
    ]
    assert server.wait() == 0


@pytest.mark.parametrize("words", [("-f", "raw", "odd"), ("-r", "odd"), ("-A", "-f", "raw", "odd")], ids=" ".join)
def test_disk_that_ends_within_a_sector_is_offered_as_by_qemu_nbd(
    servers: Servers, words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "odd").write_bytes(b"x" * 1537)
    found = []
    for program in (OURS, THEIRS):
        server = servers.start("-t", *words, program=program)
        reads = ("-c", "read -v 1520 32", "-c", "read 2040 16", "-c", "length")
        qemu_io = run("qemu-io", "-r", "-f", "raw", *reads, server.uri, status=1)
        found.append((information(server.uri), run("nbdinfo", "--map", server.uri), without_times(qemu_io)))
        server.stop()
    assert found[0] == found[1]


def test_write_behind_the_end_of_a_file_makes_its_last_sector_longer(servers: Servers, tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"x" * 1000)
    server = servers.start("-f", "raw", "odd")
    run("qemu-io", "-f", "raw", "-c", "write -P 0x79 990 20", server.uri)
    assert server.wait() == 0
    assert (tmp_path / "odd").read_bytes() == b"x" * 990 + b"y" * 20
