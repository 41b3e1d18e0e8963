# SPDX-License-Identifier: GPL-2.0-or-later
"""Any command line ends with an exit status and messages of whole lines: no traceback, whatever the words are."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncemu.cli.img.program import COMMANDS
from tests.cli.img.conftest import Tools

#: Names, options and values, as a user may mix them up. No size is large: some would be filled with zeroes.
WORDS = """
    a.qcow2 raw missing . json:{} json:{x json:[] nbd:unix: foo:bar file:raw driver=raw,file.filename=raw driver=raw
    -f -F -O -b -B -o -t -T -l -a -c -d -q -p -u -U -n -S -s -m -W -C -w -i -h -z -r --
    --output --output=json --output=human --image-opts --target-image-opts --force-share --object --size --shrink
    --preallocation --backing-chain --salvage --bitmaps --target-is-zero --add --merge --force --no-drain --pattern
    raw qcow2 file null-co qcow help ? none unsafe all leaks s1 snapshot.id=1 secret,id=a,data=x secret full
    cluster_size=512 cluster_size=x compat=0.10 size=1M backing_file=raw,backing_fmt=raw lazy_refcounts=on
    0 1 -1 +1k 64k 1.5k 1M x 99999999999999999999 if=raw of=out bs=512 count=1 skip=1 if= of= bs=x
"""

_words = st.lists(st.sampled_from(WORDS.split()) | st.text(max_size=6), max_size=7)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=st.sampled_from(COMMANDS), words=_words)
def test_any_words_end_with_a_status(tools: Tools, command: str, words: list[str]) -> None:
    tools.write("raw", b"x" * 4096)
    # A benchmark of its default length takes a second.
    limits = ["-c", "3"] if command == "bench" else []
    found = tools.ours(command, *limits, *words)
    assert 0 <= found.status <= 63
    assert "Traceback" not in found.errors


@pytest.mark.parametrize("depth", [10, 1000, 100_000])
def test_deep_json_is_refused_in_a_line(tools: Tools, depth: int) -> None:
    name = "json:" + '{"file":' * depth + "1" + "}" * depth
    found = tools.ours("info", name)
    assert found.status == 1
    assert found.errors.startswith("qemu-img: Could not open 'json:{")


def test_backing_file_that_is_the_image_ends(tools: Tools) -> None:
    assert tools.theirs("create", "-q", "-f", "qcow2", "-u", "-b", "b", "-F", "qcow2", "a", "1M").status == 0
    assert tools.theirs("create", "-q", "-f", "qcow2", "-u", "-b", "a", "-F", "qcow2", "b", "1M").status == 0
    for name in ("a", "b"):
        (tools.our_directory / name).write_bytes((tools.their_directory / name).read_bytes())
    ours, theirs = tools.both("info", "--backing-chain", "a")
    assert ours == theirs
    assert ours.errors == "qemu-img: Backing file 'a' creates an infinite loop.\n"
    for words in (["map", "a"], ["convert", "a", "o"]):
        assert tools.ours(*words).status == 1
