# SPDX-License-Identifier: GPL-2.0-or-later
"""Conformance with a stack that we did not write: the kernel's, on a wire that loses, reorders and duplicates."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from asyncemu.net.tcp import TcpSettings
from tests.net.tcp.kernel_wire import MS, PORT, KernelWire, in_own_network, tun

SETTINGS = TcpSettings(time_wait=60_000 * MS)
SMALL = SETTINGS._replace(receive_buffer=4000, send_buffer=3000)


def exchange(
    seed: int,
    size: int,
    loss: float,
    we_open: bool,
    offload: bool = False,
    settings: TcpSettings = SETTINGS,
    sysctls: tuple[str, ...] = (),
) -> None:
    """Both ends send so many bytes, and get what the other has sent."""

    def body() -> None:
        for name in sysctls:
            Path("/proc/sys/net/ipv4", name).write_text("0")
        dice = random.Random(seed)
        data, kernel_data = dice.randbytes(size), dice.randbytes(size)
        with tun(offload) as fd, socket.socket() as kernel:
            kernel.setblocking(False)
            wire = KernelWire(fd, seed, loss, offload, settings)
            if we_open:
                kernel.bind(("10.9.0.1", PORT))
                kernel.listen()
                wire.connect()
            else:
                kernel.connect_ex(("10.9.0.2", PORT))
            kernel_got = wire.run(kernel, data, kernel_data)
        assert kernel_got == data
        assert bytes(wire.got) == kernel_data
        assert wire.connection is not None
        assert wire.connection.reason is None
        # The wire was as bad as it was to be; with large segments, it may have had too few to lose.
        assert wire.lost or not loss or size < 100_000 or offload

    in_own_network(body)


@pytest.mark.parametrize("we_open", [True, False])
@pytest.mark.parametrize("offload", [True, False])
def test_kernel_on_good_wire_gets_and_sends_all(we_open: bool, offload: bool) -> None:
    exchange(1, 1 << 20, 0.0, we_open, offload)


@pytest.mark.slow
@pytest.mark.parametrize("we_open", [True, False])
@pytest.mark.parametrize("offload", [True, False])
def test_kernel_on_bad_wire_gets_and_sends_all(we_open: bool, offload: bool) -> None:
    exchange(2, 300_000, 0.03, we_open, offload)


@pytest.mark.slow
@pytest.mark.parametrize("sysctl", ["tcp_sack", "tcp_timestamps", "tcp_window_scaling"])
def test_kernel_without_option_on_bad_wire_gets_and_sends_all(sysctl: str) -> None:
    exchange(3, 200_000, 0.02, True, sysctls=(sysctl,))


@pytest.mark.slow
def test_kernel_with_small_buffers_of_ours_gets_and_sends_all() -> None:
    exchange(4, 60_000, 0.01, False, settings=SMALL)


@pytest.mark.soak
@pytest.mark.parametrize("start", range(100, 1100, 10))
def test_kernel_on_bad_wire_of_many_kinds_gets_and_sends_all(start: int) -> None:
    for seed in range(start, start + 10):
        dice = random.Random(seed)
        sysctls = tuple(name for name in ("tcp_sack", "tcp_timestamps", "tcp_window_scaling") if dice.random() < 0.3)

        exchange(
            seed,
            dice.choice((0, 1, 5000, 400_000)),
            dice.choice((0.01, 0.05, 0.1)),
            dice.random() < 0.5,
            dice.random() < 0.5,
            dice.choice((SETTINGS, SETTINGS._replace(sack=False, timestamps=False))),
            sysctls,
        )
