# SPDX-License-Identifier: GPL-2.0-or-later
"""What an open image is called: as qemu-img info showed it, or as query-named-block-nodes of QEMU 7.2 did."""

from __future__ import annotations

from typing import Any

import pytest

from asyncemu.block.naming.canonical import NodeName, node_name


def file(name: str = "a") -> NodeName:
    return node_name("file", {"filename": name, "locking": "off", "cache": {"direct": True}}, {}, is_protocol=True)


def raw(child: NodeName, **options: object) -> NodeName:
    return node_name("raw", options, {"file": child}, primary="file")


def qcow2(child: NodeName, **arguments: Any) -> NodeName:
    return node_name(
        "qcow2", {"l2-cache-size": "1M", "lazy-refcounts": "on"}, {"file": child}, primary="file", **arguments
    )


def blkdebug(image: NodeName, **options: object) -> NodeName:
    return node_name("blkdebug", options, {"image": image}, primary="image", is_protocol=True, is_filter=True)


def nbd(**options: object) -> NodeName:
    return node_name("nbd", {"reconnect-delay": 3, **options}, {}, is_protocol=True)


UNIX = {"type": "unix", "path": "/s p"}
INET = {"type": "inet", "host": "h", "port": "1"}
FILE = '{"driver": "file", "filename": "a"}'

CASES: list[tuple[NodeName, str]] = [
    (file("./a"), "./a"),
    (raw(file()), "a"),
    (raw(file(), **{"node-name": "x", "read-only": True, "cache.direct": "on", "discard": "unmap"}), "a"),
    (raw(file(), offset="512"), f'json:{{"offset": "512", "driver": "raw", "file": {FILE}}}'),
    (raw(file(), size=1024), f'json:{{"driver": "raw", "size": 1024, "file": {FILE}}}'),
    (raw(raw(file())), f'json:{{"driver": "raw", "file": {{"driver": "raw", "file": {FILE}}}}}'),
    (qcow2(file()), "a"),
    (qcow2(raw(file())), f'json:{{"driver": "qcow2", "file": {{"driver": "raw", "file": {FILE}}}}}'),
    (qcow2(file(), backing_overridden=True), f'json:{{"backing": null, "driver": "qcow2", "file": {FILE}}}'),
    (
        node_name(
            "qcow2",
            {"backing": {"driver": "null-co"}},
            {"file": file(), "backing": node_name("null-co", {}, {}, is_protocol=True)},
            primary="file",
            backing_overridden=True,
        ),
        f'json:{{"backing": {{"driver": "null-co"}}, "driver": "qcow2", "file": {FILE}}}',
    ),
    (node_name("qcow2", {}, {"file": file(), "backing": file("b")}, primary="file"), "a"),
    (node_name("null-co", {"latency-ns": 5}, {}, is_protocol=True), "null-co://"),
    (node_name("null-aio", {"size": "1k"}, {}, is_protocol=True), 'json:{"driver": "null-aio", "size": "1k"}'),
    (blkdebug(file()), "blkdebug::a"),
    (blkdebug(file(), config="/dev/null"), "blkdebug:/dev/null:a"),
    (raw(blkdebug(file())), "blkdebug::a"),
    (blkdebug(file(), align="512"), f'json:{{"image": {FILE}, "driver": "blkdebug", "align": "512"}}'),
    (
        blkdebug(file(), **{"inject-error": [{"event": "read_aio", "once": True, "errno": 5}, {"event": "write_aio"}]}),
        f'json:{{"inject-error.0.once": true, "image": {FILE}, "driver": "blkdebug", '
        '"inject-error.0.event": "read_aio", "inject-error.0.errno": 5, "inject-error.1.event": "write_aio"}',
    ),
    (
        blkdebug(raw(file(), offset="0")),
        f'json:{{"image": {{"offset": "0", "driver": "raw", "file": {FILE}}}, "driver": "blkdebug"}}',
    ),
    (
        node_name("blkverify", {}, {"raw": file("foo:bar"), "test": raw(file())}, primary="raw", is_protocol=True),
        "blkverify:foo:bar:a",
    ),
    (
        node_name("copy-on-read", {}, {"file": file()}, primary="file", is_filter=True),
        f'json:{{"driver": "copy-on-read", "file": {FILE}}}',
    ),
    (
        node_name("throttle", {"throttle-group": "tg"}, {"file": file()}, primary="file", is_filter=True),
        f'json:{{"throttle-group": "tg", "driver": "throttle", "file": {FILE}}}',
    ),
    (
        node_name("preallocate", {"prealloc-size": "2M"}, {"file": file()}, primary="file", is_filter=True),
        f'json:{{"driver": "preallocate", "file": {FILE}}}',
    ),
    (nbd(server=UNIX), "nbd+unix://?socket=/s p"),
    (nbd(path="/s", export="foo"), "nbd+unix:///foo?socket=/s"),
    (nbd(server=INET), "nbd://h:1"),
    (nbd(server=INET, export="foo"), "nbd://h:1/foo"),
    (nbd(host="h"), "nbd://h:10809"),
    (raw(nbd(server=INET, export="/foo")), "nbd://h:1//foo"),
    (
        raw(nbd(server={**INET, "ipv4": "on"}, export="foo")),
        'json:{"driver": "raw", "file": {"server.host": "h", "server.port": "1", "driver": "nbd", "export": "foo", '
        '"server.type": "inet", "server.ipv4": "on"}}',
    ),
    (
        raw(nbd(server={"type": "unix", "path": "/s"}, export="foo"), offset=0),
        'json:{"offset": 0, "driver": "raw", "file": {"server.path": "/s", "driver": "nbd", "export": "foo", '
        '"server.type": "unix"}}',
    ),
    (node_name("https", {"url": "https://h/a", "readahead": 5}, {}, is_protocol=True), "https://h/a"),
    (
        node_name("https", {"url": "https://h/a", "sslverify": "off"}, {}, is_protocol=True),
        'json:{"url": "https://h/a", "driver": "https", "sslverify": "off"}',
    ),
    # Not QEMU's: all that it was given counts.
    (
        node_name("delay", {"read-ns": 5, "read-only": True}, {"file": file()}, primary="file", is_filter=True),
        f'json:{{"read-ns": 5, "driver": "delay", "file": {FILE}}}',
    ),
]


@pytest.mark.parametrize(("name", "expected"), CASES)
def test_node_is_called_as_in_qemu(name: NodeName, expected: str) -> None:
    found = name.filename

    if expected.startswith("json:") and ("url" in expected or "read-ns" in expected):
        # Their place in the hash table was not seen.
        assert sorted(found) == sorted(expected)
    else:
        assert found == expected


def test_node_whose_table_is_too_long_for_qemu_s_field_is_cut_off() -> None:
    name = raw(file("x" * 5000), offset=0).filename

    assert (len(name), name[-4:]) == (4095, "x...")


def test_node_whose_name_is_too_long_for_qemu_s_field_is_called_by_its_table() -> None:
    assert file("x" * 5000).filename.startswith('json:{"driver": "file", "filename": "xxx')
