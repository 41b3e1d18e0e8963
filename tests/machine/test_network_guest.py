# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's virtio_net on our virtio-net, with all that it negotiates by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine import pong
from tests.machine.guest import debian, run

NETWORK = f"""
[[netdev]]
id = "net0"
plugin = "{pong.__file__}:Pong"

[[device]]
driver = "virtio-net"
netdev = "net0"
iothread = "io0"

[[iothread]]
id = "io0"
"""


@pytest.mark.guest
@pytest.mark.slow
async def test_debian_pings_through_a_card_in_an_iothread(tmp_path: Path) -> None:
    config = debian(tmp_path, "shell")
    text = config.read_text().replace("session=shell", "session=shell net=10.0.2.15/24,10.0.2.2")
    config.write_text(text + NETWORK)

    async with run(config) as guest:
        await guest.expect(r"shell: eth0 is up")
        await guest.expect(r"guest:/mnt# ")
        await guest.send("cat /sys/class/net/eth0/address; ping -q -c 3 -s 1400 -i 0.2 192.0.2.1\n")
        await guest.expect(r"52:54:00:12:34:56")
        await guest.expect(r"3 packets transmitted, 3 packets received, 0% packet loss")
        await guest.send("exit\n")
        status = await guest.wait()

    assert status == 0
