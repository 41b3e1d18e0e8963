# SPDX-License-Identifier: GPL-2.0-or-later
"""img bench: what it says but for the time, and what it writes."""

from __future__ import annotations

import re

import pytest

from tests.cli.img.conftest import Result, Tools

_SECONDS = re.compile(r"in \d+\.\d{3} seconds")

COMMANDS = [
    "bench -c 10 -d 2 -s 1k -S 2k -o 64k base.qcow2",
    "bench -c 0 base.qcow2",
    "bench -s 0 -c 100 base.qcow2",
    "bench -c 0x10 -d 010 base.qcow2",
    "bench -q -c 1 base.qcow2",
    "bench -c 3 -t none base.qcow2",
    "bench -c 3 -i io_uring base.qcow2",
    "bench -c 3 -i threads -U base.qcow2",
    "bench -w -c 10 base.qcow2",
    "bench -w -c 10 -d 4 --flush-interval=5 --pattern 3 base.qcow2",
    "bench -w -c 10 -d 4 --flush-interval=5 --no-drain --pattern 0x55 base.qcow2",
    "bench -w -c 9 -d 1 --flush-interval=1 -s 64k -S 128k -o 32k base.qcow2",
    "bench -w -c 40 -s 64k --pattern=7 -t writethrough base.qcow2",
    "bench -w -c 40 -d 3 -s 3k -S 5k --pattern=7 -t unsafe base.qcow2",
]


def without_time(result: Result) -> Result:
    """How long it took is chance."""
    return Result(result.status, _SECONDS.sub("in TIME", result.output), result.errors)


@pytest.mark.parametrize("command", COMMANDS)
def test_benchmark_says_and_writes_what_qemu_imgs_does(tools: Tools, command: str) -> None:
    tools.take("base.qcow2")
    ours, theirs = tools.both(*command.split())
    assert without_time(ours) == without_time(theirs)
    assert tools.same_contents("base.qcow2")
    assert tools.is_clean("base.qcow2")
