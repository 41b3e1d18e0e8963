# SPDX-License-Identifier: GPL-2.0-or-later
"""U-Boot, as Debian has it, gets an address and a kernel from the user network, and boots it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from guests import fetch
from tests.machine.guest import U_BOOT_S_MODE, Guest, run

pytestmark = [pytest.mark.guest, pytest.mark.slow]

CONFIG = """
[machine]
memory = "512MiB"

[[chardev]]
id = "console"
backend = "stdio"

[[netdev]]
id = "net0"
type = "user"
tftp = "boot"
bootfile = "Image"

[[device]]
driver = "virtio-net"
netdev = "net0"
"""


async def test_u_boot_boots_a_kernel_by_dhcp_and_tftp(tmp_path: Path) -> None:
    files = fetch.ensure()
    (tmp_path / "boot").mkdir()
    shutil.copyfile(files.image, tmp_path / "boot" / "Image")
    shutil.copyfile(files.initrd, tmp_path / "boot" / "initrd")
    config = tmp_path / "vm.toml"
    config.write_text(CONFIG)

    async with run(config, f"machine.kernel={U_BOOT_S_MODE}") as guest:
        await guest.expect("stop autoboot")
        await guest.send("\n")
        await guest.expect("=> ")
        await command(guest, "dhcp ${kernel_addr_r}", r"DHCP client bound to address 10\.0\.2\.15")
        size = files.image.stat().st_size
        await guest.expect(rf"Filename 'Image'(?s:.*)Bytes transferred = {size} ")
        await command(guest, "tftpboot ${ramdisk_addr_r} initrd", rf"transferred = {files.initrd.stat().st_size} ")
        await command(guest, "setenv bootargs console=ttyS0 session=demo; echo args-set", "\nargs-set")
        await command(
            guest, "booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdtcontroladdr}", "Starting kernel"
        )
        await guest.expect("asyncemu: userspace")
        await guest.expect("demo: FAILED: no /dev/vda")
        status = await guest.wait()

    assert status == 0


async def command(guest: Guest, text: str, answer: str) -> None:
    """Type it, and read what it answers."""
    start = len(guest.console)
    await guest.send(f"{text}\n")
    await guest.expect(answer, start)
