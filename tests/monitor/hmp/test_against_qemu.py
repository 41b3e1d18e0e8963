# SPDX-License-Identifier: GPL-2.0-or-later
"""The same lines to QEMU's monitor and to ours, of machines that have the same: the same text."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from asyncemu.monitor.control import Control
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import COMMANDS, INFO_COMMANDS, in_order
from tests.monitor.hmp.conftest import RAM_BASE, AskQemu, Build

MEMORY = bytes(range(256)) * 16

EXPRESSIONS = """
1+2*3|0x10-1|7/2|7%4|(1+2)*3|~0|-1|-7/2|-7%2|1^3|2&3|1|2+4|'a'|010|0xffffffffffffffff|5*-3|1 + + 2|4%-3|0
7/0|7%0|$foo|$|1 +|1-|1 2|)|(1|0x|0xg|08|99999999999999999999|'|'ab'|''|1 == 1|!1|
""".replace("\n", "|").split("|")
FORMATS = ["x", "d", "u", "o", "c", "xb", "dw", "cb", "z", "xz", "2x", ""]

DUMPS = [
    f"{command}/{count}{letter}{size} {RAM_BASE + offset:#x}"
    for command, offset in (("x", 0), ("xp", 0x80))
    for count in (1, 9)
    for letter in "xduoc"
    for size in "bhwg"
]
MORE_MEMORY = """
x/0x 0x80000000
x/3xg 0x80000004+4
x/xL 0x80000000
x/4xx 0x80000000
x /4xb 0x80000000
x/x 0x10
x/-1x 0x80000000
x/
x
xp/8xw 0x10
xp/4xb 0xffffffffffffffff
x/2xw 0xfffffffffffffffe
xp/2xw 0x80fffffc
xp/2xb 0x81000000
x/40xb 0x80fffff0
xp/1xw 0x10001000
xp/xh 0x10001002
sum 0x80000000 4096
sum 0x80000001 77
sum 0x80000000
gva2gpa 0x80000000
gva2gpa
""".strip().splitlines()

ARGUMENTS = """
foo
info foo
stop 1
stop -x
info status
info  status
info status x
info name
info uuid
info dump
info registers 1
info registers -b
info registers a
info block foo
info block-jobs
info history
info memory_size_summary
info memory-devices
info mem
info usernet
info network
info iothreads
info mtree -x
cpu
cpu 0
cpu 1
cpu -1
cpu a
nmi
help foo
help info foo
help info status
help x
help x foo
? p
set_link
set_link a
set_link a b
set_link a on
block_resize
block_resize a
block_resize a x
block_resize a 1Q
block_resize a 1.5x
block_resize a 1M
block_resize a -1
block_resize a 99999999999999999999
block_resize a 1 2
block_resize "a
block_set_io_throttle x 1 2 3 4 5
block_set_io_throttle x 1 2 3 4 5 6
drive_del x
snapshot_blkdev
snapshot_blkdev x
snapshot_blkdev x "/nonexistent/y"
snapshot_blkdev_internal x
snapshot_blkdev_internal x s
snapshot_delete_blkdev_internal x s 1 2
nbd_server_start
nbd_server_start -z a
nbd_server_start -w a:1
nbd_server_start a
nbd_server_remove x
nbd_server_add nope
nbd_server_stop
object_add
object_del
object_del x
object_del "a\\q"
object_add iothread,id=io8,foo=bar
object_add iothread,id=io8,poll-max-ns=foo
netdev_add user
netdev_add user,id=a b
netdev_add user,id=v,restrict=foo
netdev_del x
hostfwd_add a
hostfwd_remove tcp::1
announce_self
announce_self a b c
chardev-add
chardev-add foo
chardev-remove
chardev-remove x
chardev-send-break x
chardev-change a null
ringbuf_read
ringbuf_read x 1
ringbuf_read x -1
ringbuf_write x foo
ringbuf_write x "a\\x01"
qom-list
qom-list /foo
qom-get / type
qom-get /machine type
qom-get /machine foo
qom-set /machine foo 1
qom-set -j
qom-set -x /machine a b
trace-event a b
memsave
memsave 0 0 /tmp/x
memsave 0x90000000 16 "out"
memsave 0x80000000 16 "/nonexistent/out"
memsave 0x80000000 16 /out
pmemsave 0x80000000 16 "/nonexistent/out"
dump-guest-memory
dump-guest-memory -x out
system_powerdown
system_reset
""".strip().splitlines()

OBJECTS = """
object_add iothread,id=io1,poll-max-ns=1000
object_del io1
object_add qom-type=iothread,id=io2
netdev_add user,id=u,hostfwd=tcp:127.0.0.1:0-:22
netdev_add type=user,id=w
info network
netdev_del u
netdev_del w
info network
chardev-add null,id=a
chardev-add backend=ringbuf,id=rr,size=1K
ringbuf_write rr "a b\\n"
ringbuf_read rr 10
ringbuf_read rr 10
chardev-change rr ringbuf,size=2K
chardev-change rr ringbuf,id=x,size=2K
chardev-remove a
qom-set /objects/io2 poll-max-ns 100
qom-get /objects/io2 poll-max-ns
object_del io2
nbd_server_start unix:nbd.sock
nbd_server_stop
""".strip().splitlines()


async def compare(build: Build, ask_qemu: AskQemu, lines: list[str]) -> None:
    """Assert that both print the same for each line."""
    loader = Path("memory.bin")
    expected = ask_qemu(lines, "-device", f"loader,file={loader},addr={RAM_BASE:#x}")
    machine = await build()
    machine.memory.write(RAM_BASE, MEMORY)
    session = Session(Control(machine))

    found = [await session.run(line) for line in lines]

    rows = zip(lines, found, (text.replace("\r\n", "\n") for text in expected), strict=True)
    assert [row for row in rows if row[1] != row[2]] == []


async def test_expressions_have_the_same_values_and_faults(build: Build, ask_qemu: AskQemu, tmp_path: Path) -> None:
    (tmp_path / "memory.bin").write_bytes(MEMORY)
    lines = [f"p/{format} {expression}" for format in FORMATS for expression in EXPRESSIONS]

    await compare(build, ask_qemu, lines)


async def test_memory_reads_the_same_in_every_format(build: Build, ask_qemu: AskQemu, tmp_path: Path) -> None:
    (tmp_path / "memory.bin").write_bytes(MEMORY)

    await compare(build, ask_qemu, [*DUMPS, *MORE_MEMORY])


async def test_arguments_are_refused_in_the_same_words(build: Build, ask_qemu: AskQemu, tmp_path: Path) -> None:
    (tmp_path / "memory.bin").write_bytes(MEMORY)

    await compare(build, ask_qemu, ARGUMENTS)


async def test_objects_come_and_go_in_the_same_words(
    build: Build, ask_qemu: AskQemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "memory.bin").write_bytes(MEMORY)

    await compare(build, ask_qemu, OBJECTS)


async def test_help_is_in_the_same_words_where_commands_take_the_same(ask_qemu: AskQemu, session: Session) -> None:
    theirs = "".join(ask_qemu(["help", "info"])).replace("\r\n", "\n").splitlines()
    ours = [command.describe().splitlines()[0] for command in in_order(COMMANDS) + in_order(INFO_COMMANDS)]

    #: What takes less than QEMU's, and says so.
    ours_alone = {line.split(" ")[0] + " " + line.split(" ")[1] for line in ours if line not in theirs}

    assert {name.removesuffix(" [-p]") for name in ours_alone} == {
        "drive_add [-n]",
        "info mtree",
        "info trace-events",
        "netdev_add type,id=str[,prop=value][,...]",
        "trace-event name",
        "dump-guest-memory",
    }


async def test_block_information_of_an_image_is_the_same(build: Build, ask_qemu: AskQemu, tmp_path: Path) -> None:
    for command in (["create", "-f", "qcow2", "base.qcow2", "1M"], ["snapshot", "-c", "s1", "base.qcow2"]):
        subprocess.run(["qemu-img", *command], cwd=tmp_path, check=True, capture_output=True)
    image = tmp_path / "base.qcow2"
    lines = ["info block", "info block -v", "info block -n", "info block d0", "info snapshots"]
    expected = ask_qemu(
        lines,
        *("-blockdev", f"driver=file,node-name=file0,filename={image}"),
        *("-blockdev", "driver=qcow2,node-name=d0,file=file0"),
        *("-device", "virtio-blk-device,drive=d0,id=disk"),
    )
    file = {"driver": "file", "node-name": "file0", "filename": str(image)}
    machine = await build(
        blockdev=[{"node-name": "d0", "driver": "qcow2", "file": file}],
        device=[{"driver": "virtio-blk", "drive": "d0", "id": "disk"}],
    )
    session = Session(Control(machine))

    found = [await session.run(line) for line in lines]

    assert found == [text.replace("\r\n", "\n") for text in expected]
