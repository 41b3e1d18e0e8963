# SPDX-License-Identifier: GPL-2.0-or-later
"""Persistent bitmaps, which ours can't copy or change yet: it says so, and does no harm."""

from __future__ import annotations

import pytest

from tests.cli.img.conftest import Tools


@pytest.mark.parametrize("action", ["--add", "--remove", "--clear", "--enable", "--disable"])
def test_bitmap_action_is_refused_and_leaves_the_image(tools: Tools, action: str) -> None:
    tools.take("bitmaps.qcow2")
    found = tools.ours("bitmap", action, "bitmaps.qcow2", "b0")
    assert (found.status, found.output) == (1, "")
    assert found.errors == (
        f"qemu-img: Operation {action[2:]} on bitmap b0 failed: "
        "Can't change persistent bitmaps of qcow2 images: Operation not supported\n"
    )
    assert not tools.different_files()


def test_copy_of_bitmaps_is_refused_before_anything_is_made(tools: Tools) -> None:
    tools.take("bitmaps.qcow2")
    found = tools.ours("convert", "--bitmaps", "-O", "qcow2", "bitmaps.qcow2", "o")
    assert found.status == 1
    assert found.errors == (
        "qemu-img: Failed to copy the bitmaps of 'bitmaps.qcow2': persistent bitmaps are not supported yet\n"
    )
    assert not (tools.our_directory / "o").exists()


def test_image_with_bitmaps_is_written_without_harm(tools: Tools) -> None:
    tools.take("bitmaps.qcow2", "raw")
    assert tools.ours("convert", "-n", "-O", "qcow2", "raw", "bitmaps.qcow2").status == 0
    assert tools.theirs("convert", "-n", "-O", "qcow2", "raw", "bitmaps.qcow2").status == 0
    assert tools.same_contents("bitmaps.qcow2")
    assert tools.is_clean("bitmaps.qcow2")


def test_snapshot_is_not_applied_under_bitmaps(tools: Tools) -> None:
    tools.take("bitmaps.qcow2")
    ours, theirs = tools.both("snapshot", "-a", "s1", "bitmaps.qcow2")
    assert ours == theirs
    assert ours.errors == "qemu-img: Could not apply snapshot 's1': Device has active dirty bitmaps\n"
