# SPDX-License-Identifier: GPL-2.0-or-later
"""The same bytes to QEMU's monitor and to ours: the same replies."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.monitor.conftest import Serve
from tests.monitor.qmp.client import RawClient

QEMU = shutil.which("qemu-system-riscv64")
pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-system-riscv64 is not installed")

QUERY = b'{"execute":"query-name","id":%s}'
INPUTS = [
    # what is no request
    *(
        b"{} [] 1 1e5 true null 'x' nul foo @ A \x7f \x80 \x00 \x01 \xc3\xa9 \xfe \xff } ] , : - 01 1. -a 1e+ %d".split(
            b" "
        )
    ),
    b'"abc',
    b'"a\tb"',
    b'"\\\n"',
    b'"\xff"',
    b'1a 1"a" true1 truefalse 1.5.5',
    # what is no JSON
    *(b'{"a"} {"a":} {"a":1,} {1:2} {] [} {"a":1] [1,] [{]}} {nul:1} {"a":1}} {"return":1}'.split(b" ")),
    *(b'{"a":1 "b":2}|{"a" 1}|[1 2]|{[1 2]:3}|{"a":1,"a":tru}|{"a":1,"a":2}|{"a":%s}'.split(b"|")),
    b'{"id": "abc\n"}',
    b"[" * 1025 + b"\xff",
    b"[" * 1024 + b"]" * 1024,
    # what is no request of QMP's
    *(b'{"execute":1} {"execute":null} {"exec-oob":1} {"arguments":{}} {"arguments":1,"execute":"stop"}'.split(b" ")),
    b'{"execute":"query-name","foo":1}',
    b'{"execute":"query-name","exec-oob":"query-name"}',
    b'{"execute":"query-name","arguments":{"x":1},"id":"x"}',
    b'{"execute":"query-name","arguments":null}',
    b'{"exec-oob":"query-name","id":4}',
    b'{"exec-oob":"nope","id":4}',
    b'{"exec-oob":"qmp_capabilities"}',
    b'{"execute":"nope"}',
    b'{"execute":"a\\u0000b"}',
    b'{"execute":"qmp_capabilities"}',
    # ids, which come back
    *(QUERY % id for id in (b"1", b"-0", b"18446744073709551615", b"99999999999999999999", b"0.5", b"1e5", b"null")),
    *(QUERY % id for id in (b'[1,{"a":null}]', b"'it''s'", b"'a\\'b\"c'", b'"\xc3\xa9"', b'"\xc0\x80"', b'"\x7f"')),
    *(QUERY % id for id in (b'"\\u00e9\\ud83d\\ude00"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud800\\u0041"')),
    *(QUERY % id for id in (b'"\\u0000"', b'"\\x"', b'"\\u12"', b'"\\u12xy"', b'"\\uffff"', b'"\xef\xbf\xbf"')),
    *(QUERY % id for id in (b'"\xe2\x82"', b'"\xf4\x90\x80\x80"', b'"\xed\xa0\x80"', b'"a\\/b\\b\\f\\n\\r\\t"')),
    QUERY % (b"[" * 500 + b"]" * 500),
    # several
    (QUERY % b"1") + (QUERY % b"2") + b"]" + (QUERY % b"3"),
    b'{ "execute": \xff ' + (QUERY % b"7"),
    # arguments of commands that both have
    b'{"execute":"object-del"}',
    b'{"execute":"set_link","arguments":{"name":"a","up":"yes"}}',
    b'{"execute":"set_link","arguments":{"name":1}}',
    b'{"execute":"set_link","arguments":{"name":"a","up":true,"b":{"c":1}}}',
    b'{"execute":"block_resize","arguments":{"node-name":"a","size":"1"}}',
    b'{"execute":"block_resize","arguments":{"node-name":"a","size":1.5}}',
    b'{"execute":"getfd","arguments":{"fdname":"a"}}',
    b'{"execute":"closefd","arguments":{"fdname":"a"}}',
    b'{"execute":"add-fd"}',
    b'{"execute":"remove-fd","arguments":{"fdset-id":3}}',
    b'{"execute":"remove-fd","arguments":{"fdset-id":3,"fd":7}}',
    b'{"execute":"query-fdsets"}',
]


@pytest.fixture
async def qemu(tmp_path: Path) -> AsyncIterator[Path]:
    """QEMU's monitor."""
    path = tmp_path / "qemu.sock"
    # The second monitor says when there is something to connect to.
    arguments = ["-M", "virt", "-display", "none", "-S", "-qmp", f"unix:{path},server=on,wait=off", "-qmp", "stdio"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(str(QEMU), *arguments, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        yield path
    finally:
        process.kill()
        await process.wait()


async def _answers(path: Path, enable: str, inputs: list[bytes]) -> list[tuple[bytes, object]]:
    client = await RawClient.connect(path, enable=enable)
    try:
        return [(data, await client.answers(data)) for data in inputs]
    finally:
        await client.close()


#: With oob, QEMU 7.2 aborts now and then when several things come at once (an assertion about its queue): these are
#: single ones.
OOB_INPUTS = [data for data in INPUTS if b"exec-oob" in data]


@pytest.mark.parametrize(("enable", "inputs"), [("", INPUTS), ('"oob"', OOB_INPUTS)], ids=["in-band", "oob"])
async def test_raw_input_gives_qemus_replies(
    serve: Serve, qemu: Path, tmp_path: Path, enable: str, inputs: list[bytes]
) -> None:
    await serve()

    ours = await _answers(tmp_path / "qmp.sock", enable, inputs)
    theirs = await _answers(qemu, enable, inputs)

    assert ours == theirs
