# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that another process writes to: what qemu-img says, its hint included, and the exit status."""

from __future__ import annotations

import pytest

from tests.cli.img.conftest import Tools

#: Each on base.qcow2, which is in use; overlay.qcow2 is over it, and raw is free.
COMMANDS = {
    "info": "info base.qcow2",
    "info of the overlay": "info overlay.qcow2",
    "info of the chain": "info --backing-chain overlay.qcow2",
    "check": "check base.qcow2",
    "repair": "check -r all base.qcow2",
    "map": "map overlay.qcow2",
    "compare": "compare raw base.qcow2",
    "convert from": "convert base.qcow2 o",
    "convert from the overlay": "convert overlay.qcow2 o",
    "convert over": "convert -O qcow2 raw base.qcow2",
    "convert to": "convert -n -O qcow2 raw base.qcow2",
    "create over": "create -f qcow2 base.qcow2 1M",
    "create over it, raw": "create -f raw base.qcow2 1M",
    "create an overlay": "create -f qcow2 -b base.qcow2 -F qcow2 new",
    "resize": "resize base.qcow2 2M",
    "take a snapshot": "snapshot -c x base.qcow2",
    "list snapshots": "snapshot -l base.qcow2",
    "commit": "commit overlay.qcow2",
    "rebase": "rebase -b raw -F raw overlay.qcow2",
    "rebase onto": "rebase -b base.qcow2 -F qcow2 raw",
    "amend": "amend -o lazy_refcounts=on base.qcow2",
    "bench": "bench -c 1 base.qcow2",
    "dd from": "dd if=base.qcow2 of=o",
    "dd over": "dd -O qcow2 if=raw of=base.qcow2",
    "measure": "measure -O raw base.qcow2",
    "shared": "info -U base.qcow2",
}


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS)
def test_image_in_use_as_qemu_img(tools: Tools, line: str) -> None:
    tools.take("base.qcow2", "overlay.qcow2", "raw")
    with tools.in_use("base.qcow2"):
        ours, theirs = tools.both(*line.split())
    assert ours == theirs
    assert ours.status == 0 or "Is another process using the image [base.qcow2]?\n" in ours.errors
    assert not tools.different_files()
