# SPDX-License-Identifier: GPL-2.0-or-later
"""Every complaint about a vm.toml, word by word: its lines on stderr, and exit status 2 from ``run`` and ``check``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.conftest import Result

NULL = '[[chardev]]\nid = "c0"\nbackend = "null"\n'
STDIO = '[[chardev]]\nid = "c0"\nbackend = "stdio"\n'
DISK = '[[blockdev]]\nnode-name = "d0"\ndriver = "null-co"\n'
RNG = '[[device]]\ndriver = "virtio-rng"\n'
BLK = '[[device]]\ndriver = "virtio-blk"\ndrive = "d0"\n'
CONSOLE = '[[device]]\ndriver = "virtio-console"\nchardev = "c0"\n'

DEVICES = "goldfish-rtc, sifive-test, uart16550, virtio-blk, virtio-console, virtio-net, virtio-rng"

CASES = {
    # what is no TOML
    "not TOML": (
        "[machine",
        ["vm.toml: is not TOML: expected ']' at the end of a table declaration (at end of document); correct it"],
    ),
    "nested without end": ("x = " + "[" * 5000, ["vm.toml: is nested too deeply; give a vm.toml"]),
    "too many digits": (
        "x = " + "9" * 5000,
        ["vm.toml: exceeds the limit (4300 digits) for integer string conversion; give a vm.toml"],
    ),
    "too large": ("#" * (1 << 20) + "#", ["vm.toml: has more than 1 MiB; give a vm.toml"]),
    # tables
    "unknown table": ("[machin]", ["machin: unknown table; did you mean 'machine'?"]),
    "unknown table of strange name": (
        '["a\\nb"]',
        [
            r"'a\nb': unknown table; known: "
            "machine, chardev, netdev, netfilter, blockdev, device, iothread, throttle-group, monitor, qmp"
        ],
    ),
    "machine no table": ("machine = 1", ["machine: is not a table"]),
    "list no list": ('[chardev]\nid = "c0"', ["chardev: is not a list of tables; write [[chardev]]"]),
    "entry no table": ("device = [1]", ["device[0]: is not a table"]),
    "too many entries": ("device = [" + "{}," * 1025 + "]", ["device: has 1025 entries; give 1024 at most"]),
    # iothreads
    "iothread without an id": (
        "[[iothread]]",
        ["iothread[0].id: is missing; name it, so that a device can refer to it"],
    ),
    "iothread with a bad id": (
        '[[iothread]]\nid = "1"',
        ["iothread[0].id: '1' is not a name; begin with a letter; letters, digits, - . _ may follow"],
    ),
    "iothread twice": (
        '[[iothread]]\nid = "io0"\n' * 2,
        ["iothread[1].id: 'io0' is the name of iothread[0] already; choose another"],
    ),
    "iothread with a misspelt key": (
        '[[iothread]]\nid = "io0"\npoll-max = 1',
        ["iothread[0].poll-max: unknown key; did you mean 'poll-max-ns'?"],
    ),
    "iothread with a pool that can't be": (
        '[[iothread]]\nid = "io0"\nthread-pool-min = 9\nthread-pool-max = 8',
        ["iothread[0]: thread-pool-min 9 is above thread-pool-max 8"],
    ),
    # throttle groups
    "throttle group without an id": (
        "[[throttle-group]]\nlimits = { iops-total = 1 }",
        ["throttle-group[0].id: is missing; name it, so that a block node can refer to it"],
    ),
    "throttle group twice": (
        '[[throttle-group]]\nid = "g"\n' * 2,
        ["throttle-group[1].id: 'g' is the name of throttle-group[0] already; choose another"],
    ),
    "throttle group with a misspelt limit": (
        '[[throttle-group]]\nid = "g"\nlimits = { iops-totl = 1 }',
        ["throttle-group[0].limits.iops-totl: unknown key; did you mean 'iops-total'?"],
    ),
    "throttle group with limits that make no sense": (
        '[[throttle-group]]\nid = "g"\nlimits = { iops-total-max = 1 }',
        ["throttle-group[0].limits: bps_max/iops_max require corresponding bps/iops values"],
    ),
    "throttle group that is not there, in a table in a table": (
        '[[throttle-group]]\nid = "slow"\n[[blockdev]]\nnode-name = "top"\ndriver = "raw"\n'
        'file = { driver = "throttle", throttle-group = "slo", file = { driver = "null-co" } }',
        ["blockdev[0].file.throttle-group: no throttle-group is named 'slo'; did you mean 'slow'?"],
    ),
    "device in an iothread that is not there": (
        RNG + 'iothread = "io1"\n[[iothread]]\nid = "io0"',
        ["device[0].iothread: no iothread is named 'io1'; did you mean 'io0'?"],
    ),
    "disk of two devices that live apart": (
        DISK + '[[device]]\ndriver = "virtio-blk"\ndrive = "d0"\niothread = "io0"\n'
        '[[device]]\ndriver = "virtio-blk"\ndrive = "d0"\n[[iothread]]\nid = "io0"',
        [
            "device[1].drive: blockdev 'd0' is used in the main loop, and by device[0].drive in iothread 'io0'; "
            "give its users the same iothread"
        ],
    ),
    "vq mapping beside iothread": (
        DISK + '[[device]]\ndriver = "virtio-blk"\ndrive = "d0"\niothread = "io0"\n'
        'iothread-vq-mapping = [{ iothread = "io0" }]\n[[iothread]]\nid = "io0"',
        ["device[0].iothread-vq-mapping: can't go with iothread; leave one of the two out"],
    ),
    # keys
    "unknown key": ('[machine]\nmemroy = "1G"', ["machine.memroy: unknown key; did you mean 'memory'?"]),
    "unknown key of a device without options": (
        RNG + "bus = 1",
        ["device[0].bus: unknown key; known: iothread, id, driver"],
    ),
    "misspelt name key": (DISK + 'node_nam = "x"', ["blockdev[0].node_nam: unknown key; did you mean 'node-name'?"]),
    "unknown key in a table in a table": (
        '[[blockdev]]\nnode-name = "d0"\ndriver = "file"\nfilename = "x"\ncache = { dirct = true }',
        ["blockdev[0].cache.dirct: unknown key; did you mean 'direct'?"],
    ),
    "unknown key in a list in a table": (
        NULL + CONSOLE + 'ports = [{ chardev = "c0", nam = "x" }]\n[[chardev]]\nid = "c1"\nbackend = "null"',
        ["device[0].ports[0].nam: unknown key; did you mean 'name'?"],
    ),
    "missing key": ('[[blockdev]]\nnode-name = "d0"\ndriver = "file"', ["blockdev[0].filename: is missing"]),
    "keys that exclude each other": (
        '[[chardev]]\nid = "c0"\nbackend = "socket"',
        ["chardev[0]: needs one of path or abstract (unix socket), port (TCP) and fd"],
    ),
    # values
    "wrong types, all at once": (
        '[machine]\nmemory = [1]\nkernel = 3\nappend = 1\npaused = "perhaps"\naccel = "tcg"\ninitrd = true',
        [
            "machine.accel: must be a list, not 'tcg'",
            "machine.memory: a list is not a size; write 4096, 512K or 256MiB",
            "machine.kernel: must be a path, as text, not 3",
            "machine.initrd: must be a path, as text, not true",
            "machine.append: must be text, not 1",
            "machine.paused: must be true or false, not 'perhaps'",
        ],
    ),
    "wrong type for alternatives": (
        '[[blockdev]]\nnode-name = "d0"\ndriver = "raw"\nfile = 3',
        ["blockdev[0].file: must be text or a table"],
    ),
    "wrong whole number": (
        DISK + BLK + "num-queues = 1.5",
        ["device[0].num-queues: must be a whole number, not 1.5"],
    ),
    "value that is none of a few": (
        '[machine]\ntype = "vert"\naccel = ["tgc"]\nsmp = 2',
        [
            "machine.type: 'vert' is not one of its values; did you mean 'virt'?",
            "machine.accel[0]: 'tgc' is not one of its values; did you mean 'tcg'?",
            "machine.smp: 2 is not one of its values; known: 1",
        ],
    ),
    "empty list": ("[machine]\naccel = []", ["machine.accel: has 0 entries, at least 1"]),
    "values out of range": (
        DISK + BLK + f'num-queues = 0\nqueue-size = 4096\nserial = "{"1" * 21}"',
        [
            "device[0].serial: has 21 characters, at most 20",
            "device[0].num-queues: must be at least 1, not 0",
            "device[0].queue-size: must be at most 1024, not 4096",
        ],
    ),
    "no power of two": (DISK + BLK + "queue-size = 99", ["device[0].queue-size: 99 is not a power of two"]),
    "very long value": (
        f'[machine]\ntype = "{"x" * 1000}"',
        [f"machine.type: '{'x' * 60}'... is not one of its values; known: virt"],
    ),
    "huge number": (
        "[machine]\nsmp = 0x" + "f" * 5000,
        ["machine.smp: must be a smaller number, not a number with very many digits"],
    ),
    "huge number for text": (
        "[machine]\ntype = 0x" + "f" * 5000,
        ["machine.type: a number with very many digits is not one of its values; known: virt"],
    ),
    "command line with a line break": (
        '[machine]\nappend = "a\\nb"',
        ["machine.append: has a character that can't be printed; the kernel's command line is one line of text"],
    ),
    "command line too long": (
        f'[machine]\nappend = "{"a" * 1024}"',
        ["machine.append: has 1024 bytes; the kernel takes 1023 at most"],
    ),
    "qtest without a path": (
        '[machine]\nqtest = "unix:"',
        ["machine.qtest: 'unix:' is not an address; write unix:PATH, or tcp:HOST:PORT with a port up to 65535"],
    ),
    "qtest at no port": (
        '[machine]\nqtest = "tcp:localhost:65536"',
        [
            "machine.qtest: 'tcp:localhost:65536' is not an address; "
            "write unix:PATH, or tcp:HOST:PORT with a port up to 65535"
        ],
    ),
    "qtest path with NUL": (
        '[machine]\nqtest = "unix:a\\u0000b"',
        ["machine.qtest: has a NUL character, which no file's name has"],
    ),
    "qtest no text": ("[machine]\nqtest = 1", ["machine.qtest: must be text, not 1"]),
    "path empty": ('[machine]\nkernel = ""', ["machine.kernel: is empty; give the path of a file"]),
    "path with NUL": (
        '[machine]\nkernel = "a\\u0000b"',
        ["machine.kernel: has a NUL character, which no file's name has"],
    ),
    "path of nobody": (
        '[machine]\nkernel = "~nobody-of-that-name/x"',
        ["machine.kernel: ~nobody-of-that-name means no home directory; write it out"],
    ),
    # sizes
    "size in words": (
        '[machine]\nmemory = "lots"',
        ["machine.memory: 'lots' is not a size; write 4096, 512K or 256MiB"],
    ),
    "size ambiguous": (
        '[machine]\nmemory = "256MB"',
        ["machine.memory: '256MB' has two meanings; write 256M or 256MiB for powers of 1024"],
    ),
    "size of half a byte": (
        '[machine]\nmemory = "0.5"',
        ["machine.memory: '0.5' is not a whole number of bytes; leave the fraction out"],
    ),
    "size negative": ("[machine]\nmemory = -1", ["machine.memory: must be at least 0, not -1"]),
    "size past all": (
        '[machine]\nmemory = "8E"',
        ["machine.memory: must be at most 9223372036854775807, not 9223372036854775808"],
    ),
    # plug-ins
    "unknown device": (
        '[[device]]\ndriver = "virtio-blok"',
        ["device[0].driver: 'virtio-blok' is unknown; did you mean 'virtio-blk'?"],
    ),
    "unknown device like none": ('[[device]]\ndriver = "zz"', [f"device[0].driver: 'zz' is unknown; known: {DEVICES}"]),
    "unknown back end": (
        '[[chardev]]\nid = "c0"\nbackend = "stdoi"',
        ["chardev[0].backend: 'stdoi' is unknown; did you mean 'stdio'?"],
    ),
    "driver missing": ('[[device]]\nid = "x"', [f"device[0].driver: is missing; known: {DEVICES}"]),
    "driver no text": ("[[device]]\ndriver = 1", ["device[0].driver: must be text"]),
    "plug-in without class": (
        '[[device]]\nplugin = "mine.py"',
        ["device[0].plugin: 'mine.py' names no class; write \"file.py:ClassName\""],
    ),
    "plug-in file missing": ('[[device]]\nplugin = "mine.py:Mine"', ["device[0].plugin: mine.py: no such Python file"]),
    # names
    "name no text": ('[[device]]\nid = 1\ndriver = "virtio-rng"', ["device[0].id: must be text"]),
    "name with a space": (
        '[[chardev]]\nid = "a b"\nbackend = "null"',
        ["chardev[0].id: 'a b' is not a name; begin with a letter; letters, digits, - . _ may follow"],
    ),
    "names missing": (
        '[[chardev]]\nbackend = "null"\n[[blockdev]]\ndriver = "null-co"',
        [
            "chardev[0].id: is missing; name it, so that a device can refer to it",
            "blockdev[0].node-name: is missing; name it, so that a device can refer to it",
        ],
    ),
    "names taken": (
        NULL + NULL + DISK + DISK + RNG + 'id = "x"\n' + RNG + 'id = "x"',
        [
            "blockdev[1].node-name: 'd0' is the name of blockdev[0] already; choose another",
            "chardev[1].id: 'c0' is the name of chardev[0] already; choose another",
            "device[1].id: 'x' is the name of device[0] already; choose another",
        ],
    ),
    "name taken by a node within": (
        DISK + '[[blockdev]]\nnode-name = "d1"\ndriver = "raw"\nfile = { node-name = "d0", driver = "null-co" }',
        ["blockdev[1].file.node-name: 'd0' is the name of blockdev[0] already; choose another"],
    ),
    # references
    "references to nothing": (
        '[machine]\nserial = "x"\n' + BLK + CONSOLE + 'ports = [{ chardev = "zz" }]',
        [
            "device[0].drive: no blockdev is named 'd0'",
            "device[1].chardev: no chardev is named 'c0'",
            "device[1].ports[0].chardev: no chardev is named 'zz'",
            "machine.serial: no chardev is named 'x'",
        ],
    ),
    "reference misspelt": (
        '[[chardev]]\nid = "console"\nbackend = "null"\n[machine]\nserial = "consol"',
        ["machine.serial: no chardev is named 'consol'; did you mean 'console'?"],
    ),
    "reference to a node below": (
        '[[blockdev]]\nnode-name = "r"\ndriver = "raw"\nfile = "d0"\n' + DISK,
        ["blockdev[0].file: no block node above is named 'd0'; define it above this one"],
    ),
    "driver of a node within": (
        '[[blockdev]]\nnode-name = "r"\ndriver = "raw"\nfile = { driver = "fil" }',
        ["blockdev[0].file.driver: 'fil' is unknown; did you mean 'file'?"],
    ),
    "keys of a node within": (
        '[[blockdev]]\nnode-name = "r"\ndriver = "raw"\nfile = { driver = "file", filname = "x" }',
        [
            "blockdev[0].file.filename: is missing",
            "blockdev[0].file.filname: unknown key; did you mean 'filename'?",
        ],
    ),
    "nodes within nodes": (
        '[[blockdev]]\nnode-name = "r"\ndriver = "raw"\nfile = '
        + "{ driver = 'raw', file = " * 34
        + "'x'"
        + " }" * 34,
        [f"blockdev[0]{'.file' * 33}: is nested more than 32 tables deep; define nodes one after the other"],
    ),
    # what is shared
    "chardev used twice": (
        NULL + CONSOLE + CONSOLE,
        [
            "device[1].chardev: chardev 'c0' is in use by device[0].chardev already; "
            "set mux = true in chardev[0], or use another one"
        ],
    ),
    "chardev used by a device and the machine": (
        '[machine]\nserial = "c0"\n' + NULL + CONSOLE,
        [
            "machine.serial: chardev 'c0' is in use by device[0].chardev already; "
            "set mux = true in chardev[0], or use another one"
        ],
    ),
    "stdio used twice": (
        STDIO + STDIO.replace("c0", "c1"),
        [
            "chardev[1].backend: standard input and output belong to chardev[0] already; "
            "give one of the two another backend"
        ],
    ),
    "too many virtio devices": (RNG * 9, ["device[8]: all 8 virtio slots of the board are taken; remove a device"]),
    # what the host has not got
    "kernel missing": (
        '[machine]\nkernel = "nope"',
        ["machine.kernel: nope: no such file or directory; give the path of a file that can be read"],
    ),
    "initrd without kernel": (
        '[machine]\ninitrd = "x"',
        ["machine.initrd: there is no kernel to use it; give machine.kernel"],
    ),
    "kernel a directory": ('[machine]\nkernel = "."', ["machine.kernel: .: is a directory; give the path of a file"]),
    "memory too much": (
        '[machine]\nmemory = "4E"',
        [
            "machine.memory: the host has not got 4611686018427387904 bytes "
            "(Cannot allocate memory); ask for less"
        ],
    ),
    "memory not of pages": (
        "[machine]\nmemory = 100001",
        ["machine.memory: 100001 bytes; give a multiple of 4096 bytes"],
    ),
    "memory too little": (
        '[machine]\nmemory = "2M"',
        ["machine.memory: 2097152 bytes are too few; give at least 8MiB"],
    ),
    "disk missing": (
        '[[blockdev]]\nnode-name = "d0"\ndriver = "file"\nfilename = "nope.img"',
        [
            "blockdev[0].filename: Could not open 'nope.img': No such file or directory; "
            "create it, for example with: truncate -s 1G nope.img"
        ],
    ),
    "disk a directory": (
        '[[blockdev]]\nnode-name = "d0"\ndriver = "file"\nfilename = "."\nread-only = true',
        ["blockdev[0].filename: 'file' driver requires '.' to be a regular file"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("case", CASES)
def test_bad_config_each_fault_is_one_line(
    case: str, command: str, asyncemu: Callable[..., Result], vm: Callable[[str], None]
) -> None:
    text, lines = CASES[case]
    vm(text)

    result = asyncemu(command, "vm.toml")

    assert result.errors.splitlines() == [f"asyncemu: {line}" for line in lines]
    assert (result.status, result.output) == (2, "")
