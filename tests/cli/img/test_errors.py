# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors of the storage in the middle of the work, injected by blkdebug in both programs."""

from __future__ import annotations

import pytest

from tests.cli.img.conftest import Tools


def broken(name: str, iotype: str, *sectors: int, errno: int = 5) -> str:
    """The raw image ``name``, whose requests of ``iotype`` fail, those of some sectors only when there are any."""
    where = [f'"sector":{sector},' for sector in sectors] or [""]
    errors = ",".join(f'{{"event":"none","errno":{errno},{each}"iotype":"{iotype}"}}' for each in where)
    file = f'{{"driver":"file","filename":"{name}"}}'
    return f'json:{{"driver":"raw","file":{{"driver":"blkdebug","image":{file},"inject-error":[{errors}]}}}}'


COMMANDS = {
    "read": ["convert", broken("raw", "read", 100), "o"],
    "salvage": ["convert", "--salvage", broken("raw", "read", 100), "o"],
    "salvage, quiet": ["convert", "--salvage", "-q", broken("raw", "read", 100), "o"],
    "block status": ["convert", broken("raw", "block-status"), "o"],
    "salvage of block status": ["convert", "--salvage", broken("raw", "block-status", 100), "o"],
    "compare's reads": ["compare", "other", broken("raw", "read", 100)],
    "compare's block status": ["compare", "other", broken("raw", "block-status")],
    "map": ["map", broken("raw", "block-status")],
    "dd": ["dd", f"if={broken('raw', 'read', 100)}", "of=o"],
    "bench": ["bench", "-c", "1", "-o", "50k", broken("raw", "read", 100)],
}


def test_salvage_goes_on_behind_several_errors(tools: Tools) -> None:
    tools.take("raw")
    ours, theirs = tools.both("convert", "-O", "qcow2", "--salvage", broken("raw", "read", 100, 1010), "o")
    # Which of the two is read first is not said.
    assert sorted(ours.errors.splitlines()) == sorted(theirs.errors.splitlines())
    assert not tools.different_files()


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_error_is_told_as_by_qemu_img(tools: Tools, words: list[str]) -> None:
    tools.take("raw", "other")
    ours, theirs = tools.both(*words)
    assert ours == theirs
    assert not tools.different_files()


_NO_SPACE = (
    "file.driver=blkdebug,file.image.driver=file,file.inject-error.0.event=none,file.inject-error.0.iotype=write"
)


def test_full_target_ends_a_conversion_as_qemu_imgs(tools: Tools) -> None:
    tools.take("raw", "other")
    target = f"driver=raw,{_NO_SPACE},file.inject-error.0.errno=28,file.image.filename=other"
    ours, theirs = tools.both("convert", "-n", "--target-image-opts", "raw", target)
    assert ours == theirs
    assert ours.errors == "qemu-img: error while writing at byte 40960: No space left on device\n"


def test_full_overlay_ends_a_rebase_as_qemu_imgs(tools: Tools) -> None:
    tools.take("base.qcow2", "overlay.qcow2")
    image = f"driver=qcow2,{_NO_SPACE},file.inject-error.0.errno=28,file.image.filename=overlay.qcow2"
    ours, theirs = tools.both("rebase", "-b", "", "--image-opts", image)
    # Closing it fails, too, which is told in other words.
    first = [found.errors.splitlines()[0] for found in (ours, theirs)]
    assert first == ["qemu-img: Error while writing to COW image: No space left on device"] * 2
    assert (ours.status, ours.output) == (theirs.status, theirs.output)


def test_errors_of_several_requests_at_once_are_one_message(tools: Tools) -> None:
    tools.take("raw", "other")
    target = f"driver=raw,{_NO_SPACE},file.inject-error.0.errno=28,file.image.filename=other"
    found = tools.ours("convert", "-W", "-m", "16", "-n", "--target-image-opts", "raw", target)
    assert found.status == 1
    assert found.errors.count("\n") == 1


def test_locked_image_is_refused_with_the_hint(tools: Tools) -> None:
    tools.take("base.qcow2")
    image = "driver=raw,file.filename=base.qcow2"
    # Each holds the image as the source that nobody may write to, and as the target.
    ours, theirs = tools.both("convert", "-n", "--image-opts", "--target-image-opts", image, image)
    assert ours == theirs
    assert ours.errors.endswith("Is another process using the image [base.qcow2]?\n")
