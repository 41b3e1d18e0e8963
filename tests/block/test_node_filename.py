# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of open images and messages about wrong options: those of qemu-img, which is asked in each test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.image_options import image_table, options_table
from asyncemu.block.naming.words import qemu_words
from asyncemu.block.node_filename import node_filename
from asyncemu.errors import ConfigError

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)")


def qemu_img(*arguments: str) -> str:
    done = subprocess.run(["qemu-img", *arguments], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.fixture(autouse=True)
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the current directory: a.raw, foo:bar, a.qcow2, over.qcow2 (on a.raw)."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.raw", "foo:bar", "ä.raw"):
        with Path(name).open("wb") as image:
            os.ftruncate(image.fileno(), 1 << 20)
    qemu_img("create", "-q", "-f", "qcow2", "a.qcow2", "1M")
    qemu_img("create", "-q", "-f", "qcow2", "-b", "a.raw", "-F", "raw", "over.qcow2")
    yield


NAMES = [
    "a.raw",
    "./a.raw",
    "./foo:bar",
    "file:foo:bar",
    "a.qcow2",
    "over.qcow2",
    "null-co://",
    "null-aio://",
    "blkdebug::a.raw",
    "blkdebug::a.qcow2",
    "blkdebug:/dev/null:a.raw",
    "blkverify:a.raw:a.raw",
    "/dev/zero",
    'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}',
    'json:{"driver":"raw","offset":1e3,"file.filename":"ä.raw"}',
    'json:{"driver":"null-co","size":512,"latency-ns":1}',
]

OPTIONS = [
    "driver=raw,file.filename=a.raw,node-name=x,cache.no-flush=on",
    "driver=raw,file.filename=a.raw,size=1k",
    "driver=raw,offset=512,size=512,file.driver=raw,file.file.filename=a.raw,file.offset=1024",
    "driver=qcow2,file.driver=raw,file.offset=0,file.file.filename=a.qcow2,l2-cache-size=1M",
    "driver=blkdebug,image.filename=a.raw,align=512",
    "driver=blkdebug,image.filename=a.raw,inject-error.0.event=read_aio,inject-error.0.errno=5",
    "driver=preallocate,file.filename=a.raw",
    "driver=raw,file.driver=null-co,file.read-zeroes=on",
]


async def test_node_is_called_as_qemu_img_calls_it(graph: BlockGraph) -> None:
    """One test for all: each asks qemu-img, which takes a while."""
    tables = {name: image_table(name) for name in NAMES} | {text: options_table(text) for text in OPTIONS}
    graph.directory = None
    ours, theirs = {}, {}
    for text, table in tables.items():
        node = await graph.add_table({"read-only": True, **table}, "image")
        ours[text] = node_filename(node)
        await graph.remove(node)
        shown = qemu_img("info", *(["--image-opts"] if text in OPTIONS else []), text)
        theirs[text] = shown.partition("\n")[0].removeprefix("image: ")

    assert ours == theirs


WRONG = [
    "driver=nope",
    "driver=raw",
    "driver=file",
    "driver=raw,file.driver=file",
    "driver=raw,file.driver=nope",
    "driver=blkdebug",
    "driver=raw,file.filename=a.raw,foo=1",
    "driver=raw,file.filename=a.raw,foo.bar=1",
    "driver=raw,file.filename=a.raw,file.foo=1",
    "driver=raw,file.filename=a.raw,size=abc",
    "driver=raw,file.filename=a.raw,size=",
    "driver=raw,file.filename=a.raw,offset=-1",
    "driver=raw,file.filename=a.raw,read-only=maybe",
    "driver=raw,file.filename=a.raw,cache.direct=x",
    "driver=raw,file.filename=a.raw,discard=x",
    "driver=raw,file.filename=a.raw,detect-zeroes=x",
    "driver=raw,file.filename=a.raw,file.locking=x",
    "driver=raw,file.filename=a.raw,file.aio=x",
    "driver=qcow2,file.filename=a.qcow2,lazy-refcounts=x",
    "driver=qcow2,file.filename=a.qcow2,l2-cache-size=x",
]


async def test_wrong_options_are_explained_as_qemu_img_does(graph: BlockGraph) -> None:
    graph.directory = None
    ours, theirs = {}, {}
    for text in WRONG:
        with pytest.raises(ConfigError) as raised:
            await graph.add_table({"read-only": True, **options_table(text)}, "image")
        ours[text] = f"qemu-img: Could not open '{text}': {qemu_words(raised.value)}\n"
        theirs[text] = qemu_img("info", "--image-opts", text)

    assert ours == theirs
