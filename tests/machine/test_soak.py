# SPDX-License-Identifier: GPL-2.0-or-later
"""Many boots and many ends, with the machine loaded: what races and lost wake-ups can't hide from for long."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.machine.guest import debian, run

pytestmark = [pytest.mark.guest]

#: A boot takes about 3 s, and twice that with all cores busy: the moments of the ends are spread over a whole one.
LONGEST_WAIT = 6.0


@pytest.fixture
async def load() -> AsyncIterator[None]:
    """Both (all) cores busy."""
    stress = await asyncio.create_subprocess_exec("stress-ng", "--cpu", str(os.cpu_count()), "--quiet")
    yield
    stress.send_signal(signal.SIGINT)
    await stress.wait()


def without_what_differs(console: str) -> list[str]:
    """A boot's lines with times, addresses and random numbers taken out, sorted: two initcalls may swap places."""
    text = re.sub(r"\[ *\d+\.\d+\] ", "", console)
    text = re.sub(r"[0-9a-f]{6,}|0x[0-9a-f]+", "#", text)
    text = re.sub(r"\d+([.:-]\d+)*", "#", text)
    return sorted(line.strip() for line in text.splitlines() if line.strip())


#: The kernel's last line.
POWERED_OFF = "reboot: Power down"


async def boots_alike(tmp_path: Path, boots: int) -> None:
    config = debian(tmp_path, "poweroff")
    first: list[str] | None = None
    for _ in range(boots):
        async with run(config) as guest:
            assert await guest.wait() == 0, guest.text
        lines = without_what_differs(guest.text)
        assert "asyncemu: userspace" in guest.text
        first = first or lines
        assert lines == first


async def ends_cleanly(tmp_path: Path, ends: int, seed: int) -> None:
    """Half by SIGTERM, half by Ctrl-A x; each at a random moment of a boot."""
    config = debian(tmp_path, "poweroff")
    chance = random.Random(seed)
    for number in range(ends):
        async with run(config, "chardev.console.mux=true") as guest:
            try:
                async with asyncio.timeout(chance.uniform(0, LONGEST_WAIT)):
                    status = await guest.wait()
            except TimeoutError:
                if number % 2:
                    status = await guest.kill(signal.SIGTERM)
                    # Before the program has begun to run, a signal does what signals do; behind the guest's last line
                    # it may come too late.
                    allowed = {130} if guest.console else {130, -signal.SIGTERM}
                    assert status in (allowed | {0} if POWERED_OFF in guest.text else allowed), guest.text
                else:
                    try:
                        await guest.send("\x01x")
                        ended_before = False
                    except (RuntimeError, ConnectionError):  # uvloop's word for a pipe that is closed
                        ended_before = True
                    status = await guest.wait()
                    assert status == 0, guest.text
                    assert POWERED_OFF in guest.text or not ended_before
        assert "Traceback" not in guest.text


@pytest.mark.slow
async def test_boot_3_times_all_alike(tmp_path: Path) -> None:
    await boots_alike(tmp_path, 3)


@pytest.mark.slow
async def test_end_at_10_random_moments_is_clean(tmp_path: Path) -> None:
    await ends_cleanly(tmp_path, 10, seed=1)


@pytest.mark.soak
async def test_boot_50_times_under_load_all_alike(tmp_path: Path, load: None) -> None:
    await boots_alike(tmp_path, 50)


@pytest.mark.soak
async def test_end_at_100_random_moments_under_load_is_clean(tmp_path: Path, load: None) -> None:
    await ends_cleanly(tmp_path, 100, seed=2)
