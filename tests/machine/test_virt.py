# SPDX-License-Identifier: GPL-2.0-or-later
"""The board's description agrees with the board, and with QEMU's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from asyncemu.config.load import check
from asyncemu.loop import AioContext


async def decompiled(context: AioContext, tmp_path: Path) -> str:
    """Our device tree through dtc, which must have nothing to say about it."""
    machine = check({"machine": {"append": "console=ttyS0", "memory": "256MiB"}}, tmp_path).make_machine(context)
    await machine.build()
    blob = machine.board.device_tree("console=ttyS0", (0x8400_0000, 0x8500_0000))
    await machine.close()
    result = subprocess.run(["dtc", "-I", "dtb", "-O", "dts", "-"], input=blob, capture_output=True, check=True)
    assert result.stderr == b""
    return result.stdout.decode()


def nodes(source: str) -> dict[str, dict[str, str]]:
    """Node name with its unit address → its reg and interrupts, as dtc writes them."""
    found: dict[str, dict[str, str]] = {}
    for name, body in re.findall(r"([\w,-]+@[0-9a-f]+) \{([^{}]*)", source):
        found[name] = dict(re.findall(r"(reg|interrupts|compatible) = ([^;]*);", body))
    return found


async def test_device_tree_dtc_has_no_warning(context: AioContext, tmp_path: Path) -> None:
    source = await decompiled(context, tmp_path)

    assert 'bootargs = "console=ttyS0"' in source
    assert "linux,initrd-start = <0x00 0x84000000>" in source


@pytest.mark.slow
async def test_device_tree_addresses_and_interrupts_are_qemus(context: AioContext, tmp_path: Path) -> None:
    ours = nodes(await decompiled(context, tmp_path))
    blob = tmp_path / "qemu.dtb"
    machine = f"virt,dumpdtb={blob}"
    subprocess.run(["qemu-system-riscv64", "-M", machine, "-m", "256M", "-display", "none"], check=True)
    dump = subprocess.run(["dtc", "-q", "-I", "dtb", "-O", "dts", blob], capture_output=True, check=True).stdout
    theirs = nodes(dump.decode())

    shared = [name for name in ours if not name.startswith("cpu@")]

    assert len(shared) >= 14
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
