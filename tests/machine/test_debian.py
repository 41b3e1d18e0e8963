# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel, unmodified, on our machine: what the guest and the host see of each other's data."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path

import pytest

from tests.machine.guest import OPENSBI, debian, run

pytestmark = [pytest.mark.guest, pytest.mark.slow]

#: What session=flushwrite writes at the start of the disk.
FLUSHED = b"asyncemu-flush!\n" * 65536


async def test_debian_scripted_session_reads_back_what_it_wrote_and_powers_off(tmp_path: Path) -> None:
    async with run(debian(tmp_path, "demo")) as guest:
        wrote = await guest.expect(r"demo: wrote (\S+ \S+)\s")
        read = await guest.expect(r"demo: read back (\S+ \S+)\s")
        random = await guest.expect(r"16 bytes of /dev/hwrng: (\S+)\s")
        status = await guest.wait()

    assert status == 0
    assert wrote[1] == read[1]
    assert len(set(random[1])) > 4
    assert "demo: done" in guest.text


async def test_debian_disk_read_in_the_guest_has_the_files_sha256(tmp_path: Path) -> None:
    config = debian(tmp_path, "sha256")
    expected = hashlib.sha256((tmp_path / "disk.img").read_bytes()).hexdigest()

    async with run(config) as guest:
        found = await guest.expect(r"sha256 ([0-9a-f]{64})")
        await guest.wait()

    assert found[1].decode() == expected


async def test_debian_killed_after_the_guests_flush_loses_nothing_flushed(tmp_path: Path) -> None:
    async with run(debian(tmp_path, "flushwrite")) as guest:
        await guest.expect("flushed")
        await guest.kill(signal.SIGKILL)

    assert (tmp_path / "disk.img").read_bytes()[: len(FLUSHED)] == FLUSHED


async def test_debian_ended_by_sigterm_after_the_guests_flush_exits_130_and_keeps_the_data(tmp_path: Path) -> None:
    async with run(debian(tmp_path, "flushwrite")) as guest:
        await guest.expect("flushed")
        status = await guest.kill(signal.SIGTERM)

    assert status == 130
    assert (tmp_path / "disk.img").read_bytes()[: len(FLUSHED)] == FLUSHED


async def test_debian_reboot_in_the_guest_boots_again(tmp_path: Path) -> None:
    async with run(debian(tmp_path, "shell")) as guest:
        await guest.expect(r"guest:\S*# ")
        await guest.send("echo first-$((6*7)); umount /mnt; reboot -f\n")
        await guest.expect("first-42")
        await guest.expect(r"(?s)guest:\S*# .*Booting Linux.*guest:\S*# ")
        await guest.send("poweroff -f\n")
        status = await guest.wait()

    assert status == 0


async def test_debian_console_on_virtio_works_both_ways(tmp_path: Path) -> None:
    config = debian(tmp_path, "shell")
    with config.open("a") as file:
        file.write('\n[[device]]\ndriver = "virtio-console"\nchardev = "console"\n')

    async with run(config, "machine.append=console=hvc0 session=shell") as guest:
        await guest.expect(r"guest:\S*# ")
        await guest.send("echo typed-$((6*7)); poweroff -f\n")
        await guest.expect("typed-42")
        status = await guest.wait()

    assert status == 0


async def test_debian_under_opensbi_boots_and_powers_off(tmp_path: Path) -> None:
    async with run(debian(tmp_path, "demo"), f"machine.firmware={OPENSBI}") as guest:
        await guest.expect("OpenSBI v")
        await guest.expect("SBI implementation ID=0x1 ")
        status = await guest.wait()

    assert status == 0
    assert "demo: done" in guest.text


async def test_debian_without_native_helper_boots(tmp_path: Path) -> None:
    async with run(debian(tmp_path, "poweroff"), environment={"ASYNCEMU_NATIVE": "0"}) as guest:
        await guest.expect("asyncemu: userspace")
        status = await guest.wait()

    assert status == 0


async def test_debian_disk_read_only_in_the_guest_too(tmp_path: Path) -> None:
    config = debian(tmp_path, "shell")
    before = (tmp_path / "disk.img").read_bytes()

    async with run(config, "blockdev.disk0.read-only=true") as guest:
        await guest.expect(r"guest:\S*# ")
        await guest.send("cat /sys/block/vda/ro /sys/block/vda/serial; echo x >/dev/vda; poweroff -f\n")
        await guest.expect(r"\n1\r?\ntest-disk")
        await guest.wait()

    assert (tmp_path / "disk.img").read_bytes() == before
