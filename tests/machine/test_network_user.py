# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's guest with busybox on the user network. Boots are dear, so each does several things in one session."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from guests import fetch, iperf3, programs
from tests.machine import host_services
from tests.machine.guest import debian, run

pytestmark = [pytest.mark.guest, pytest.mark.slow]

NETWORK = """
[[netdev]]
id = "net0"
type = "user"
{options}

[[device]]
driver = "virtio-net"
netdev = "net0"
"""


def networked(directory: Path, options: str = "") -> Path:
    """A vm.toml whose guest has got its address by DHCP when its shell asks for commands."""
    config = debian(directory, "shell")
    text = config.read_text().replace("session=shell", "quiet session=shell net=dhcp")
    config.write_text(text + NETWORK.format(options=options))
    return config


@pytest.mark.parametrize("megabytes", [20, pytest.param(100, marks=pytest.mark.soak)])
async def test_guest_with_a_lease_moves_megabytes_both_ways(tmp_path: Path, megabytes: int) -> None:
    body = random.Random(5).randbytes(1_000_000) * megabytes
    digest = hashlib.sha256(body).hexdigest()

    async with (
        host_services.serve(body) as host,
        run(networked(tmp_path), "machine.memory=512MiB") as guest,
    ):
        await guest.expect(r"lease of 10\.0\.2\.15 obtained from 10\.0\.2\.2")
        await guest.expect(r"shell: eth0 is up")
        ping = await guest.shell("ping -q -c 3 -i 0.2 10.0.2.2")
        await guest.shell(f"wget -q -O /tmp/body http://10.0.2.2:{host.http_port}/")
        received = await guest.shell("sha256sum /tmp/body")
        answer = await guest.shell(f"nc 10.0.2.2 {host.sink_port} </tmp/body")
        sunk = await host.sunk.get()
        await guest.send("exit\n")
        status = await guest.wait()

    assert "3 packets transmitted, 3 packets received" in ping
    assert received.split()[0] == digest
    assert sunk == (len(body), digest)
    assert answer.strip() == str(len(body))
    assert status == 0


async def test_guest_with_all_services_uses_each(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "hello.txt").write_bytes(b"by tftp" * 5000)
    (tmp_path / "answering.py").write_text(
        "async def answer(reader, writer):\n"
        "    request = await reader.readuntil(b'\\r\\n\\r\\n')\n"
        "    writer.write(b'HTTP/1.0 200 OK\\r\\n\\r\\nyou said ' + request.split(b'\\r\\n')[0])\n"
        "    await writer.drain()\n"
        "    writer.close()\n"
    )
    port = host_services.free_port()

    async with host_services.serve(b"by IPv6" * 5000) as host:
        options = f"""
tftp = "boot"
hostfwd = ["tcp:127.0.0.1:{port}-:80"]
guestfwd = ["tcp:10.0.2.100:80-python:answering.py:answer"]
resolvers = ["127.0.0.1:{host.dns_port}"]
hosts = {{ "table.example" = ["192.0.2.33"] }}
"""
        async with run(networked(tmp_path, options)) as guest:
            await guest.expect(r"shell: eth0 is up")
            table = await guest.shell("nslookup table.example")
            resolved = await guest.shell("nslookup resolved.example")
            await guest.shell("tftp -g -r hello.txt -l /tmp/hello 10.0.2.2")
            hello = await guest.shell("sha256sum /tmp/hello")
            answered = await guest.shell("wget -q -O - http://10.0.2.100/some/page")
            await guest.shell("mkdir /tmp/www; echo from the guest >/tmp/www/page; httpd -h /tmp/www")
            page = await get_page(port)
            await guest.shell("until ip addr | grep -q 'fec0::.*dynamic'; do sleep 0.1; done")
            addresses = await guest.shell("ip -6 addr show dev eth0")
            ping6 = await guest.shell("ping6 -q -c 3 -i 0.2 fec0::2")
            await guest.shell(f"wget -q -O /tmp/six http://[fec0::2]:{host.http_port}/")
            six = await guest.shell("sha256sum /tmp/six")
            await guest.send("exit\n")
            status = await guest.wait()

    assert "192.0.2.33" in table
    assert host.answer in resolved
    assert hello.split()[0] == hashlib.sha256(b"by tftp" * 5000).hexdigest()
    assert answered == "you said GET /some/page HTTP/1.1"
    assert page.endswith(b"\r\n\r\nfrom the guest\n")
    assert re.search(r"fec0::5054:ff:fe12:3456/64 scope site [a-z ]*dynamic", addresses)
    assert "3 packets transmitted, 3 packets received" in ping6
    assert six.split()[0] == hashlib.sha256(host.body).hexdigest()
    assert status == 0


async def get_page(port: int) -> bytes:
    """GET /page from a web server on loopback: all that it says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /page HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def connect_often(directory: Path, thousands: int) -> str:
    """What netbench says of each thousand of connections one after the other, and of 1,000 at a time."""
    from benchmarks.net_server import NetServer

    with NetServer() as server:
        async with run(networked(directory)) as guest:
            await guest.expect(r"shell: eth0 is up")
            said = ""
            for _ in range(thousands):
                said += await guest.shell(f"netbench connect 10.0.2.2 {server.port} 1000")
            said += await guest.shell(f"netbench concurrent 10.0.2.2 {server.port} 1000")
            await guest.send("exit\n")
            assert await guest.wait() == 0
    return said


@pytest.mark.skipif(shutil.which("iperf3") is None, reason="iperf3 is not installed")
async def test_iperf3_runs_both_ways(tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(fetch.ensure().initrd.read_bytes() + iperf3.ensure().read_bytes())

    async with iperf3_server() as port, run(networked(tmp_path), f"machine.initrd={initrd}") as guest:
        await guest.expect(r"shell: eth0 is up")
        upward = await guest.shell(f"iperf3 -c 10.0.2.2 -p {port} -n 60M -f m")
        downward = await guest.shell(f"iperf3 -c 10.0.2.2 -p {port} -n 60M -f m -R")
        await guest.send("exit\n")
        status = await guest.wait()

    for said in (upward, downward):
        megabytes = re.search(r"([0-9.]+) MBytes .*receiver", said)
        assert megabytes is not None
        assert 55 < float(megabytes[1]) < 80
        assert "iperf Done." in said
    assert status == 0


@asynccontextmanager
async def iperf3_server() -> AsyncIterator[int]:
    """The host's own iperf3, at a port of loopback."""
    port = host_services.free_port()
    server = await asyncio.create_subprocess_exec(
        *("iperf3", "-s", "--forceflush", "-B", "127.0.0.1", "-p", str(port)), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    await server.stdout.readuntil(b"Server listening")
    try:
        yield port
    finally:
        server.kill()
        await server.communicate()


needs_netbench = pytest.mark.skipif(not programs.have_compiler(), reason=f"{programs.COMPILER} is not installed")


@needs_netbench
async def test_1000_short_connections_and_1000_at_a_time_are_all_served(tmp_path: Path) -> None:
    said = await connect_often(tmp_path, 1)

    assert "netbench: connect count=1000 failed=0 " in said
    assert "netbench: concurrent count=1000 failed=0 " in said


@needs_netbench
@pytest.mark.soak
async def test_10000_short_connections_are_all_served(tmp_path: Path) -> None:
    said = await connect_often(tmp_path, 10)

    assert said.count("netbench: connect count=1000 failed=0 ") == 10
