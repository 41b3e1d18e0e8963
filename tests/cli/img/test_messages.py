# SPDX-License-Identifier: GPL-2.0-or-later
"""Each command on inputs that leave the images as they are: what it prints, where, and the exit status, as qemu-img."""

from __future__ import annotations

import shlex

import pytest

from tests.cli.img.conftest import Tools

#: A line each: the images that are taken, and the command line.
COMMANDS = {
    "program": """
        : nosuchcommand
        :
        : --foo
        : -T
        : -y info
        : info --foo x
        : info -y x
        : info -qy x
        : info -f
        : info
        : info a b
        : info --out=json x
        : info --o=json x
        : info --backing-chain=3 x
        : info --output=xx x
        : convert --t x
        : info x --foo
        base.qcow2: info base.qcow2 -f qcow2
        base.qcow2: info -- base.qcow2
    """,
    "info": """
        base.qcow2: info base.qcow2
        base.qcow2: info --output=json base.qcow2
        base.qcow2: info -f raw base.qcow2
        base.qcow2: info -f file base.qcow2
        base.qcow2: info -U base.qcow2
        base.qcow2: info --image-opts driver=qcow2,file.filename=base.qcow2
        base.qcow2: info --image-opts base.qcow2
        base.qcow2: info --image-opts -f qcow2 base.qcow2
        base.qcow2: info --image-opts driver=foo,file.filename=base.qcow2
        base.qcow2: info file:base.qcow2
        base.qcow2: info 'json:{"driver":"raw","offset":512,"file":{"driver":"file","filename":"base.qcow2"}}'
        base.qcow2: info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}'
        base.qcow2: info --object secret,id=s0,data=x base.qcow2
        base.qcow2: info --object foo base.qcow2
        base.qcow2 overlay.qcow2: info overlay.qcow2
        base.qcow2 overlay.qcow2: info --backing-chain overlay.qcow2
        base.qcow2 overlay.qcow2: info --backing-chain --output=json overlay.qcow2
        overlay.qcow2: info overlay.qcow2
        overlay.qcow2: info --backing-chain overlay.qcow2
        snapshots.qcow2: info snapshots.qcow2
        snapshots.qcow2: info --output json snapshots.qcow2
        base.qcow2 overlay.qcow2 top.qcow2: info --backing-chain top.qcow2
        bitmaps.qcow2: info bitmaps.qcow2
        bitmaps.qcow2: info --output=json bitmaps.qcow2
        raw: info raw
        odd: info --output=json odd
        empty: info empty
        raw: info -f qcow2 raw
        raw: info -f foo raw
        : info missing
        : info foo:bar
        : info nbd:unix:/nonexistent
        : info json:{}
        : info json:{foo
        : info ''
        : info .
    """,
    "options": """
        base.qcow2: info --image-opts driver=qcow2,file.filename=base.qcow2,lazy-refcounts
        base.qcow2: check --image-opts driver=qcow2,file.filename=base.qcow2,nolazy-refcounts
        base.qcow2: info --image-opts id=1x,driver=qcow2,file.filename=base.qcow2
        base.qcow2: info --image-opts id=x,driver=qcow2,file.filename=base.qcow2
        base.qcow2: info --image-opts driver=,file.filename=base.qcow2
        raw: compare --image-opts driver=raw,file.filename=raw,nocache.direct driver=raw,file.filename=raw,cache.direct
        snapshots.qcow2: convert -l snapshot.id,snapshot.name snapshots.qcow2 o
        snapshots.qcow2: convert -l snapshot.name=s1,foo snapshots.qcow2 o
        snapshots.qcow2: convert -l snapshot.id=1,id=1x snapshots.qcow2 o
        snapshots.qcow2: measure -l snapshot.name -O raw snapshots.qcow2
        : create -f qcow2 -o id=1x,nofoo new 1M
        : create -f qcow2 -o lazy_refcounts,foo new 1M
        : create -f qcow2 nbd:x 1M
        : create nbd:// 1M
        raw: convert -O qcow2 raw nbd:x
        base.qcow2: amend -o encrypt.foo=1 base.qcow2
        base.qcow2: amend -o encrypt.state=active base.qcow2
        base.qcow2: amend -o help base.qcow2
        odd: measure -O raw odd
        odd: dd if=odd of=odd bs=7 skip=100
        raw: snapshot -a s1 raw
        raw: rebase -b missing raw
    """,
    "map": """
        base.qcow2: map base.qcow2
        base.qcow2: map --output=json base.qcow2
        base.qcow2: map -s 64k -l 128k --output=json base.qcow2
        base.qcow2: map -s 3M base.qcow2
        base.qcow2: map --output=json -s 3M base.qcow2
        base.qcow2: map -s x base.qcow2
        base.qcow2: map --max-length=-1 base.qcow2
        base.qcow2 overlay.qcow2: map overlay.qcow2
        base.qcow2 overlay.qcow2: map --output=json overlay.qcow2
        base.qcow2 overlay.qcow2 top.qcow2: map --output=json top.qcow2
        base.qcow2 overlay.qcow2: map --output=json -s 1536k -l 1G overlay.qcow2
        raw: map -f raw raw
        raw: map -f raw --output=json raw
        raw: map -f raw -s 100 -l 1000 raw
        odd: map odd
        odd: map --output=json odd
        empty: map empty
        empty: map --output=json empty
        raw: map 'json:{"driver":"raw","offset":4096,"file":{"driver":"file","filename":"raw"}}'
        raw: map --output=json 'json:{"driver":"raw","offset":4096,"file":{"driver":"file","filename":"raw"}}'
        : map missing
        : map
    """,
    "compare": """
        base.qcow2 overlay.qcow2: compare base.qcow2 overlay.qcow2
        base.qcow2: compare base.qcow2 base.qcow2
        base.qcow2: compare -p base.qcow2 base.qcow2
        base.qcow2 overlay.qcow2: compare -s base.qcow2 overlay.qcow2
        base.qcow2 overlay.qcow2: compare -q base.qcow2 overlay.qcow2
        base.qcow2 raw: compare -s base.qcow2 raw
        base.qcow2 overlay.qcow2 top.qcow2: compare overlay.qcow2 top.qcow2
        raw other: compare raw other
        raw: compare -f raw -F raw -s raw raw
        raw: compare -p raw raw
        raw longer: compare raw longer
        raw longer: compare longer raw
        raw longer: compare -s raw longer
        odd empty: compare odd empty
        raw: compare raw missing
        raw other: compare -f raw -F foo raw other
        raw other: compare -T foo raw other
        raw other: compare -T none raw other
        : compare a
        : compare a b c
    """,
    "check": """
        base.qcow2: check base.qcow2
        base.qcow2: check --output=json base.qcow2
        base.qcow2: check -q base.qcow2
        base.qcow2: check -r foo base.qcow2
        base.qcow2: check -T foo base.qcow2
        leaks.qcow2: check leaks.qcow2
        leaks.qcow2: check --output=json leaks.qcow2
        leaks.qcow2: check -q leaks.qcow2
        damaged.qcow2: check damaged.qcow2
        damaged.qcow2: check --output=json damaged.qcow2
        snapshots.qcow2: check snapshots.qcow2
        bitmaps.qcow2: check bitmaps.qcow2
        raw: check raw
        raw: check -f raw --output=json raw
        : check missing
    """,
    "measure": """
        : measure
        : measure --size 1G
        : measure --size 1G -O qcow2
        : measure --size 1G -O qcow2 --output=json
        : measure --size 1G -O qcow2 -o cluster_size=2M
        : measure --size 1G -O qcow2 -o cluster_size=2M,foo=1
        : measure --size 1G -O qcow2 -o size=2M
        : measure --size x
        : measure --image-opts --size 1G
        : measure -f qcow2 --size 1G
        : measure -U --size 1G
        : measure a b
        : measure --output=foo a
        base.qcow2: measure --size 1G base.qcow2
        base.qcow2: measure -O qcow2 base.qcow2
        base.qcow2: measure -O raw base.qcow2
        base.qcow2: measure -O foo base.qcow2
        base.qcow2: measure -O null-co base.qcow2
        base.qcow2: measure -O qcow2 -l nope base.qcow2
        base.qcow2 overlay.qcow2: measure -O qcow2 overlay.qcow2
        snapshots.qcow2: measure -O qcow2 -l s1 snapshots.qcow2
        raw: measure -O qcow2 -f raw raw
    """,
    "snapshot": """
        snapshots.qcow2: snapshot -l snapshots.qcow2
        snapshots.qcow2: snapshot -U -l snapshots.qcow2
        snapshots.qcow2: snapshot -U -c x snapshots.qcow2
        snapshots.qcow2: snapshot -a nope snapshots.qcow2
        snapshots.qcow2: snapshot -d nope snapshots.qcow2
        snapshots.qcow2: snapshot -d 1 snapshots.qcow2
        snapshots.qcow2: snapshot -l -c x snapshots.qcow2
        snapshots.qcow2: snapshot snapshots.qcow2
        base.qcow2: snapshot -l base.qcow2
        raw: snapshot -l raw
        raw: snapshot -c x raw
        raw: snapshot -d x raw
        : snapshot
    """,
    "create": """
        : create
        : create -f qcow2
        : create -f qcow2 x
        : create -f qcow2 x 1M 2M
        : create -f qcow2 x 1x
        : create -f qcow2 x 9E
        : create -f qcow2 x 7E
        : create -f raw x 7E
        : create -f raw x -1
        : create -f foo x 1M
        : create -f null-co x 1M
        : create -f qcow2 foo:x 1M
        : create -f raw json:{} 1M
        : create -f qcow2 -o foo=bar x 1M
        : create -f qcow2 -o '' x 1M
        : create -f qcow2 -o cluster_size=foo x 1M
        : create -f qcow2 -o cluster_size=1000 x 1M
        : create -f qcow2 -o cluster_size=99999999999999999999 x 1M
        : create -f qcow2 -o compat=foo x 1M
        : create -f qcow2 -o lazy_refcounts=foo x 1M
        : create -f qcow2 -o preallocation=foo x 1M
        : create -f qcow2 -o refcount_bits=3 x 1M
        : create -f qcow2 -o refcount_bits=x x 1M
        : create -f qcow2 -o size=2M x 1M
        : create -f qcow2 -b '' x
        : create -f qcow2 -b missing -F raw x
        : create -f qcow2 -b missing -F raw x 1M
        : create -f qcow2 -u -b missing x 1M
        : create -f qcow2 -u -b missing -F raw x
        : create -f qcow2 -b x -F qcow2 x 1M
        : create -f qcow2 -F qcow2 x 1M
        : create -f raw /nonexistent/x 1M
        : create -f qcow2 /nonexistent/x 1M
        : create -f raw -o help
        : create -f raw -o help x
        : create -f qcow2 -o help
        : create -f qcow2 -o ? x
        : create -f qcow2 -o cluster_size=4k,help
        base.qcow2: create -f qcow2 -b base.qcow2 x
        base.qcow2: create -f qcow2 -b base.qcow2 -F foo x
        base.qcow2: create -f raw -b base.qcow2 -F qcow2 x
    """,
    "convert": """
        : convert
        : convert a
        : convert missing o
        : convert -O qcow2 -o help
        : convert -O qcow2 -o help a o
        : convert -O qcow2 -o help a
        : convert -m 0 a o
        : convert -m 17 a o
        : convert -m x a o
        : convert -S 1 a o
        : convert -S x a o
        : convert -S 3G a o
        : convert -r x a o
        : convert -c -C -O qcow2 a o
        : convert -C -S 4k a o
        : convert -C --salvage a o
        : convert --target-is-zero a o
        : convert --target-image-opts a o
        : convert --skip-broken-bitmaps -O qcow2 a o
        : convert -s x a o
        base.qcow2: convert -O foo base.qcow2 o
        base.qcow2: convert -f foo base.qcow2 o
        base.qcow2: convert -O qcow2 -o foo=1 base.qcow2 o
        base.qcow2: convert -O qcow2 -o compat=foo base.qcow2 o
        base.qcow2: convert -c base.qcow2 o
        base.qcow2: convert -c -O qcow2 -o preallocation=full base.qcow2 o
        base.qcow2: convert -n base.qcow2 o
        raw: convert --bitmaps -O qcow2 raw o
        base.qcow2 odd: convert -n -O raw base.qcow2 odd
        base.qcow2: convert -n -O qcow2 -o compat=1.1 base.qcow2 o
        base.qcow2: convert -F qcow2 -O qcow2 base.qcow2 o
        base.qcow2: convert -l nope base.qcow2 o
        base.qcow2: convert -l snapshot.foo=1 base.qcow2 o
        base.qcow2 raw: convert -l s1 base.qcow2 raw o
        raw: convert -l s1 raw o
        base.qcow2: convert base.qcow2 /nonexistent/o
        base.qcow2: convert base.qcow2 foo:o
        base.qcow2: convert -t foo base.qcow2 o
        base.qcow2: convert -T foo base.qcow2 o
        base.qcow2 overlay.qcow2: convert -B base.qcow2 -O qcow2 overlay.qcow2 o
        base.qcow2 overlay.qcow2: convert -B base.qcow2 -F qcow2 overlay.qcow2 o
        base.qcow2 overlay.qcow2 raw: convert -B base.qcow2 -F qcow2 -O qcow2 overlay.qcow2 raw o
        base.qcow2 overlay.qcow2: convert -n --target-is-zero -B base.qcow2 -F qcow2 -O qcow2 base.qcow2 overlay.qcow2
        raw: convert --image-opts -f raw driver=raw,file.filename=raw o
        raw other: convert --target-image-opts -O raw -n raw driver=raw,file.filename=other
    """,
    "dd": """
        : dd
        : dd if=a
        : dd of=a
        : dd x
        : dd if=a of=b foo
        : dd if=a of=b foo=1
        : dd if=a of=b bs=0
        : dd if=a of=b bs=x
        : dd if=a of=b bs=4G
        : dd if=a of=b count=x
        : dd if=a of=b skip=-1
        : dd if=missing of=b
        : dd if= of=b
        raw: dd -O foo if=raw of=o
        raw: dd -O null-co if=raw of=o
        raw: dd if=raw of=foo:o
        raw: dd if=raw of=/nonexistent/o
    """,
    "resize": """
        : resize
        : resize x
        : resize a b c
        : resize --foo
        : resize --foo x
        : resize missing +1M
        raw: resize -f raw raw 512k
        raw: resize -f raw raw -512k
        raw: resize -f raw --shrink raw -5M
        raw: resize -f raw --shrink raw 0
        raw: resize -f raw raw 8E
        raw: resize -f raw raw +x
        raw: resize -f raw raw 99999999999999999999
        raw: resize -f raw --preallocation=full raw 1M
        raw: resize -f raw --preallocation=metadata raw 3M
        raw: resize -f raw --preallocation=foo raw 4M
    """,
    "rebase": """
        : rebase
        : rebase x
        : rebase -b raw -F raw missing
        base.qcow2 overlay.qcow2: rebase -b missing -F raw overlay.qcow2
        base.qcow2 overlay.qcow2 raw: rebase -b raw overlay.qcow2
        base.qcow2 overlay.qcow2 raw: rebase -b raw -F foo overlay.qcow2
        base.qcow2 overlay.qcow2: rebase -t foo -b base.qcow2 overlay.qcow2
        base.qcow2 overlay.qcow2: rebase -T foo -b base.qcow2 overlay.qcow2
        overlay.qcow2: rebase -b '' overlay.qcow2
        overlay.qcow2: rebase -u -b missing overlay.qcow2
        raw other: rebase -b raw -F raw other
        raw other: rebase -f raw -u -b raw -F raw other
    """,
    "commit": """
        : commit
        : commit missing
        base.qcow2: commit base.qcow2
        raw: commit raw
        base.qcow2 overlay.qcow2: commit -b nope overlay.qcow2
        base.qcow2 overlay.qcow2: commit -r x overlay.qcow2
        base.qcow2 overlay.qcow2: commit -t foo overlay.qcow2
        base.qcow2 overlay.qcow2: commit -f foo overlay.qcow2
        base.qcow2 overlay.qcow2: commit -f raw overlay.qcow2
        overlay.qcow2: commit overlay.qcow2
    """,
    "amend": """
        : amend
        : amend x
        : amend -o compat=1.1
        : amend -o '' x
        : amend -o help -f raw
        : amend -o help
        raw: amend -f raw -o size=2M raw
        raw: amend -o size=2M raw
        base.qcow2: amend -o foo=1 base.qcow2
        base.qcow2: amend -o cluster_size=64k base.qcow2
        base.qcow2: amend -o encryption=on base.qcow2
        base.qcow2: amend -o encrypt.keyslot=1 base.qcow2
        base.qcow2: amend -o data_file=x base.qcow2
        base.qcow2: amend -o compat=foo base.qcow2
        base.qcow2: amend -o refcount_bits=3 base.qcow2
        base.qcow2 overlay.qcow2: amend -o backing_file=b -o backing_fmt=raw overlay.qcow2
        base.qcow2: amend -t foo -o compat=1.1 base.qcow2
    """,
    "bench": """
        : bench
        : bench a b
        : bench -c x a
        : bench -c -1 a
        : bench -c 3000000000 a
        : bench -d x a
        : bench -d -1 a
        : bench -s x a
        : bench -s 4G a
        : bench -o x a
        : bench -S x a
        : bench -S 4G a
        : bench -i foo a
        : bench -t foo a
        : bench --pattern=256 a
        : bench --pattern=x a
        : bench --flush-interval=2 a
        : bench -w --flush-interval=x a
        : bench -w --flush-interval=2 a
        base.qcow2: bench -n -c 1 base.qcow2
        base.qcow2: bench -i native -c 1 base.qcow2
        base.qcow2: bench -c 1 -o 5M base.qcow2
        odd: bench -c 1 odd
    """,
    "bitmap": """
        : bitmap
        : bitmap a
        : bitmap --add
        : bitmap --add a
        : bitmap --merge x --foo a
        : bitmap -g x --add a b
        : bitmap -g 64k --remove a b
        : bitmap -b c --add a b
        : bitmap -F raw --merge x a b
        : bitmap --add missing b
    """,
}


def _cases() -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    cases = []
    for text in COMMANDS.values():
        for line in text.strip().splitlines():
            names, _, words = line.strip().partition(":")
            cases.append((tuple(names.split()), tuple(shlex.split(words))))
    return cases


@pytest.mark.parametrize(("names", "words"), _cases(), ids=[" ".join(words) for _, words in _cases()])
def test_refusals_and_answers_as_qemu_img(tools: Tools, names: tuple[str, ...], words: tuple[str, ...]) -> None:
    tools.take(*names)
    ours, theirs = tools.both(*words)
    assert ours == theirs
    assert not tools.different_files()
