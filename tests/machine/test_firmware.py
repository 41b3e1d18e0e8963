# SPDX-License-Identifier: GPL-2.0-or-later
"""M-mode firmware instead of our SBI: OpenSBI and U-Boot from Debian, as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine.guest import OPENSBI, U_BOOT_M_MODE, U_BOOT_S_MODE, Guest, run

pytestmark = [pytest.mark.guest, pytest.mark.slow]

CONFIG = """
[[chardev]]
id = "console"
backend = "stdio"

[[blockdev]]
node-name = "disk0"
driver = "null-co"
size = 1048576

[[device]]
driver = "virtio-blk"
drive = "disk0"
"""


async def answers(guest: Guest) -> None:
    """Stop U-Boot's count-down, and see that it takes commands, knows its disk and keeps time."""
    await guest.expect("stop autoboot")
    await guest.send("\n")
    await guest.expect("=> ")
    await guest.send("version\n")
    await guest.expect(r"U-Boot 20\d\d[^\n]*\r?\n\r?\nriscv64")
    await guest.send("virtio info\n")
    await guest.expect(r"Capacity: 1\.0 MB")
    await guest.send("sleep 1; echo slept\n")
    await guest.expect(r"\nslept")
    await guest.send("poweroff\n")


async def test_opensbi_then_u_boot_reaches_its_prompt_and_takes_commands(tmp_path: Path) -> None:
    config = tmp_path / "vm.toml"
    config.write_text(CONFIG)

    async with run(config, f"machine.firmware={OPENSBI}", f"machine.kernel={U_BOOT_S_MODE}") as guest:
        await guest.expect("OpenSBI v")
        await answers(guest)
        status = await guest.wait()

    assert status == 0


async def test_u_boot_in_m_mode_reaches_its_prompt_and_takes_commands(tmp_path: Path) -> None:
    config = tmp_path / "vm.toml"
    config.write_text(CONFIG)

    async with run(config, f"machine.firmware={U_BOOT_M_MODE}") as guest:
        await answers(guest)
        status = await guest.wait()

    assert status == 0


async def test_u_boot_in_s_mode_on_our_sbi_reaches_its_prompt_and_takes_commands(tmp_path: Path) -> None:
    config = tmp_path / "vm.toml"
    config.write_text(CONFIG)

    async with run(config, f"machine.kernel={U_BOOT_S_MODE}") as guest:
        await answers(guest)
        status = await guest.wait()

    assert status == 0
