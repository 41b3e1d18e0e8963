# SPDX-License-Identifier: GPL-2.0-or-later
"""Each command that makes or changes images: as qemu-img, byte for byte where nothing is left to chance.

Both run on the same files. Where requests that run side by side may take places in either order, or a time of day is
stored, contents are compared instead, and ours is checked.
"""

from __future__ import annotations

import shlex

import pytest

from tests.cli.img.conftest import Tools

#: A line each: the images that are taken, and the command line. The files are equal afterwards.
EQUAL = """
    : create -f raw x 1M
    : create x 1000
    : create -q x 1M
    : create -f raw -o preallocation=full,nocow=on x 1M
    : create -f raw -o preallocation=falloc x 100k
    : create -f qcow2 x 1M
    : create -q -f qcow2 x 1M
    : create -f qcow2 -o size=2M x
    : create -f qcow2 -o compat=0.10 x 1G
    : create -f qcow2 -o cluster_size=2M,extended_l2=on,compat=1.1 -o lazy_refcounts=on x 1M
    : create -f qcow2 -o preallocation=metadata,cluster_size=4k x 1M
    : create -f qcow2 -o preallocation=full x 1M
    : create -f qcow2 -o refcount_bits=1 x 5M
    : create -f qcow2 -u -b missing -F raw x 1M
    : create -f qcow2 'a,b' 1000
    : create --object secret,id=s0,data=x -f qcow2 x 1M
    base.qcow2: create -f qcow2 -b base.qcow2 -F qcow2 x
    base.qcow2: create -f qcow2 -b base.qcow2 -F qcow2 x 512k
    base.qcow2: create -f qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 x
    raw: create -f raw raw 2M
    raw: convert raw o
    raw: convert -p raw o
    raw: convert -q -p -O qcow2 raw o
    raw: convert -p -O qcow2 raw o
    raw: convert -O qcow2 -S 0 raw o
    raw: convert -O qcow2 -S 64k raw o
    raw: convert -S 1k raw o
    raw: convert -S 3k raw o
    raw: convert -C raw o
    raw: convert -O qcow2 -c -m 1 raw o
    raw: convert -O qcow2 -o cluster_size=512 raw o
    raw: convert -O qcow2 -o cluster_size=2M raw o
    raw: convert -O qcow2 -t none -T none raw o
    raw: convert -O qcow2 -t writethrough -T directsync raw o
    raw: convert -O qcow2 -m 1 raw o
    raw: convert -O raw -o size=3M raw o
    raw: convert --salvage raw o
    raw: convert -r 1G raw o
    raw odd longer: convert raw odd longer o
    raw odd longer: convert -O qcow2 raw odd longer o
    raw longer: convert -n -f raw -O raw raw longer
    raw longer: convert -n --target-is-zero -f raw -O raw raw longer
    raw longer: convert --target-image-opts -n -f raw raw driver=raw,file.filename=longer
    base.qcow2: convert base.qcow2 o
    base.qcow2: convert -O qcow2 -o compat=0.10 base.qcow2 o
    base.qcow2 overlay.qcow2: convert overlay.qcow2 o
    base.qcow2 overlay.qcow2: convert -O qcow2 overlay.qcow2 o
    base.qcow2 overlay.qcow2: convert -O qcow2 -S 0 overlay.qcow2 o
    base.qcow2 overlay.qcow2 top.qcow2: convert -O qcow2 top.qcow2 o
    base.qcow2 overlay.qcow2 top.qcow2: convert -O qcow2 -B overlay.qcow2 -F qcow2 top.qcow2 o
    base.qcow2 overlay.qcow2 top.qcow2: convert -O qcow2 -B base.qcow2 -F qcow2 top.qcow2 o
    bitmaps.qcow2: convert -O qcow2 bitmaps.qcow2 o
    base.qcow2: convert --bitmaps -O qcow2 base.qcow2 o
    base.qcow2 overlay.qcow2: convert -O qcow2 -o preallocation=metadata overlay.qcow2 o
    base.qcow2 overlay.qcow2: convert -B base.qcow2 -F qcow2 -O qcow2 overlay.qcow2 o
    base.qcow2 overlay.qcow2: convert -B base.qcow2 -F qcow2 -O qcow2 -S 0 overlay.qcow2 o
    base.qcow2 overlay.qcow2 raw: convert -n -O qcow2 -f raw raw overlay.qcow2
    snapshots.qcow2: convert -l s1 snapshots.qcow2 o
    snapshots.qcow2: convert -l 1 -O qcow2 snapshots.qcow2 o
    snapshots.qcow2: convert -l snapshot.name=s2 snapshots.qcow2 o
    snapshots.qcow2: convert -l snapshot.id=1,snapshot.name=s1 snapshots.qcow2 o
    raw: dd if=raw of=o
    raw: dd if=raw of=o bs=1000 count=3 skip=1
    raw: dd if=raw of=o skip=10G
    raw: dd if=raw of=o count=0
    raw: dd if=raw of=o bs=1M count=1M
    raw: dd if=raw of=o bs=0x200 if=raw
    raw: dd -f raw -O qcow2 if=raw of=o bs=64k
    raw: dd --image-opts if=driver=raw,file.filename=raw of=o bs=64k
    base.qcow2 overlay.qcow2: dd if=overlay.qcow2 of=o bs=1M skip=1
    raw: resize raw +1M
    raw: resize -f raw --shrink raw -512k
    raw: resize -f raw --preallocation=full raw 2M
    raw: resize -q -f raw raw 1M
    odd: resize -f raw odd +1k
    base.qcow2: resize base.qcow2 +1M
    base.qcow2: resize base.qcow2 --shrink 512k
    base.qcow2: resize --image-opts driver=qcow2,file.filename=base.qcow2 3M
    base.qcow2 overlay.qcow2: resize overlay.qcow2 4M
    base.qcow2 overlay.qcow2 raw: rebase -b raw -F raw overlay.qcow2
    base.qcow2 overlay.qcow2 longer: rebase -p -b longer -F raw overlay.qcow2
    base.qcow2 overlay.qcow2: rebase -b '' overlay.qcow2
    base.qcow2 overlay.qcow2 top.qcow2: rebase -b base.qcow2 -F qcow2 top.qcow2
    base.qcow2 overlay.qcow2 top.qcow2: rebase -b ./base.qcow2 -F qcow2 top.qcow2
    base.qcow2 overlay.qcow2 top.qcow2: rebase -b '' top.qcow2
    base.qcow2 overlay.qcow2: rebase -b base.qcow2 -F qcow2 overlay.qcow2
    base.qcow2 overlay.qcow2: rebase -u -b missing -F raw overlay.qcow2
    overlay.qcow2: rebase -u -b '' overlay.qcow2
    leaks.qcow2: check -r leaks leaks.qcow2
    leaks.qcow2: check -r all --output=json leaks.qcow2
    damaged.qcow2: check -r leaks damaged.qcow2
    base.qcow2: check -r all base.qcow2
    base.qcow2: amend -o compat=1.1,lazy_refcounts=on base.qcow2
    base.qcow2: amend -p -o size=2M base.qcow2
    base.qcow2: amend -p -o compat=1.1 base.qcow2
"""

#: The images named after the colon hold the same data afterwards, and qemu-img finds no fault with ours.
SAME = """
    raw: convert -O qcow2 -W raw o: o
    raw: convert -O qcow2 -c raw o: o
    raw: convert -O qcow2 -c -W -m 16 raw o: o
    base.qcow2 overlay.qcow2: convert -O qcow2 -c overlay.qcow2 o: o
    base.qcow2 overlay.qcow2 longer: convert -n -O qcow2 -f raw longer overlay.qcow2: overlay.qcow2
    base.qcow2 overlay.qcow2: commit overlay.qcow2: base.qcow2 overlay.qcow2
    base.qcow2 overlay.qcow2: commit -b base.qcow2 overlay.qcow2: base.qcow2 overlay.qcow2
    base.qcow2 overlay.qcow2: commit -d overlay.qcow2: base.qcow2 overlay.qcow2
    base.qcow2 overlay.qcow2: commit -q -r 100M overlay.qcow2: base.qcow2 overlay.qcow2
    base.qcow2 overlay.qcow2 top.qcow2: commit top.qcow2: overlay.qcow2 top.qcow2
    base.qcow2 overlay.qcow2 top.qcow2: commit -b base.qcow2 top.qcow2: base.qcow2 overlay.qcow2 top.qcow2
    base.qcow2 overlay.qcow2 top.qcow2: commit -b ./base.qcow2 -d top.qcow2: base.qcow2 top.qcow2
    snapshots.qcow2: snapshot -a s1 snapshots.qcow2: snapshots.qcow2
    snapshots.qcow2: snapshot -d s1 snapshots.qcow2: snapshots.qcow2
    snapshots.qcow2: snapshot -c s3 snapshots.qcow2: snapshots.qcow2
    snapshots.qcow2: snapshot -c s1 snapshots.qcow2: snapshots.qcow2
    damaged.qcow2: check -r all damaged.qcow2: damaged.qcow2
    base.qcow2: amend -o compat=0.10 base.qcow2: base.qcow2
"""


def _cases(text: str) -> list[list[str]]:
    lines = text.strip("\n").splitlines()
    return [[part.strip() for part in f" {line.strip()}".split(": ")] for line in lines if line.strip()]


def _ids(case: list[str]) -> str:
    return case[1]


@pytest.mark.parametrize("case", _cases(EQUAL), ids=_ids)
def test_files_equal_qemu_imgs(tools: Tools, case: list[str]) -> None:
    names, words = case
    tools.take(*names.split())
    ours, theirs = tools.both(*shlex.split(words))
    assert ours == theirs
    assert not tools.different_files()


@pytest.mark.parametrize("case", _cases(SAME), ids=_ids)
def test_contents_equal_qemu_imgs(tools: Tools, case: list[str]) -> None:
    names, words, changed = case
    tools.take(*names.split())
    ours, theirs = tools.both(*shlex.split(words))
    assert ours == theirs
    assert all(tools.same_contents(name) for name in changed.split())
    assert all(tools.is_clean(name) for name in changed.split())


@pytest.mark.slow  # for qemu-img
def test_other_refcount_width_as_qemu_img(tools: Tools) -> None:
    tools.take("base.qcow2")
    ours, theirs = tools.both("amend", "-p", "-o", "refcount_bits=8", "base.qcow2")
    assert ours == theirs
    assert tools.same_contents("base.qcow2")
    assert tools.is_clean("base.qcow2")
