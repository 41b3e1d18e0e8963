# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of images and --image-opts as tables; messages are those of qemu-img info 7.2, behind "Could not open"."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.image_options import image_table, options_table, table_of_name
from asyncemu.block.naming.protocols import MAX_NESTING
from asyncemu.errors import ConfigError


def file(name: str) -> dict[str, Any]:
    return {"driver": "file", "filename": name}


def inet(host: str, port: str) -> dict[str, Any]:
    return {"type": "inet", "host": host, "port": port}


def problem(name: str, driver: str | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        image_table(name, driver)
    return raised.value.problem


def options_problem(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        options_table(text)
    return raised.value.problem


# ---- names

NAMES: dict[str, dict[str, Any]] = {
    "a.raw": file("a.raw"),
    "./foo:bar": file("./foo:bar"),
    "/x/foo:bar": file("/x/foo:bar"),
    "": file(""),
    "file:a.raw": file("a.raw"),
    "file:": file(""),
    "file:file:a.raw": file("./file:a.raw"),
    "file:nbd:x": file("./nbd:x"),
    "file:/dev/null": file("/dev/null"),
    "/dev/null": {"driver": "host_device", "filename": "/dev/null"},
    "host_device:/dev/null": {"driver": "host_device", "filename": "/dev/null"},
    "host_device:a.raw": {"driver": "host_device", "filename": "a.raw"},
    "null-co://": {"driver": "null-co"},
    "null-aio://": {"driver": "null-aio"},
    "blkdebug::a.raw": {"driver": "blkdebug", "image": file("a.raw")},
    "blkdebug:conf:a.raw": {"driver": "blkdebug", "config": "conf", "image": file("a.raw")},
    "blkdebug::blkdebug::a.raw": {"driver": "blkdebug", "image": {"driver": "blkdebug", "image": file("a.raw")}},
    'blkdebug::json:{"driver":"null-co"}': {"driver": "blkdebug", "image": {"driver": "null-co"}},
    "blkverify:a.raw:b.qcow2": {"driver": "blkverify", "raw": file("a.raw"), "test": {"file": file("b.qcow2")}},
    "http://host/a": {"driver": "http", "url": "http://host/a"},
    "https://host/a": {"driver": "https", "url": "https://host/a"},
    "http://host/a:readahead=64k:": {"driver": "http", "url": "http://host/a", "readahead": "64k"},
    "nbd:localhost:1": {"driver": "nbd", "server": inet("localhost", "1")},
    "nbd:[::1]:1": {"driver": "nbd", "server": inet("::1", "1")},
    "nbd::1": {"driver": "nbd", "server": inet("", "1")},
    "nbd:h:1:exportname=foo": {"driver": "nbd", "server": inet("h", "1"), "export": "foo"},
    "nbd:h:1:exportname=a:exportname=b": {"driver": "nbd", "server": inet("h", "1"), "export": "a:exportname=b"},
    "nbd:h:1,to=5,ipv4=on,foo": {"driver": "nbd", "server": inet("h", "1")},
    "nbd:unix:/s": {"driver": "nbd", "server": {"type": "unix", "path": "/s"}},
    "nbd:unix:": {"driver": "nbd", "server": {"type": "unix", "path": ""}},
    "nbd:unix:/s:exportname=foo": {"driver": "nbd", "server": {"type": "unix", "path": "/s"}, "export": "foo"},
    "nbd://h": {"driver": "nbd", "server": inet("h", "10809")},
    "nbd://h:0/x": {"driver": "nbd", "server": inet("h", "10809"), "export": "x"},
    "nbd+tcp://h:1/x": {"driver": "nbd", "server": inet("h", "1"), "export": "x"},
    "nbd://u@[::1]:1/%66oo/b?#frag": {"driver": "nbd", "server": inet("::1", "1"), "export": "foo/b"},
    "nbd://h:1//foo": {"driver": "nbd", "server": inet("h", "1"), "export": "/foo"},
    "nbd+unix://?socket=/s": {"driver": "nbd", "server": {"type": "unix", "path": "/s"}},
    "nbd+unix:///x?socket=/no%20such": {
        "driver": "nbd",
        "server": {"type": "unix", "path": "/no such"},
        "export": "x",
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_name_gives_the_node_that_holds_it(name: str) -> None:
    assert table_of_name(name) == NAMES[name]
    assert image_table(name) == {"file": NAMES[name]}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("foo:bar", "Unknown protocol 'foo'"),
        (":x", "Unknown protocol ''"),
        ("raw:a.raw", "Unknown protocol 'raw'"),
        ("nbds://h", "Unknown protocol 'nbds'"),
        ("NBD://h", "Unknown protocol 'NBD'"),
        ("x" * 200 + ":", f"Unknown protocol '{'x' * 127}'"),
        ("null-co:", "The only allowed filename for this driver is 'null-co://'"),
        ("null-aio:x", "The only allowed filename for this driver is 'null-aio://'"),
        ("blkdebug:a.raw", "blkdebug requires both config file and image path"),
        ("blkverify:a.raw", "blkverify requires raw copy and original image path"),
        ("nbd:", "NBD server address missing"),
        ("nbd::exportname=x", "NBD server address missing"),
        ("nbd:unix:/s:exportname=", "NBD server address missing"),
        ("nbd:x", "error parsing address 'x'"),
        ("nbd:unix", "error parsing address 'unix'"),
        ("nbd:localhost:", "error parsing address 'localhost:'"),
        ("nbd::", "error parsing port in address ':'"),
        ("nbd:[::1", "error parsing IPv6 address '[::1'"),
        ("nbd:[::1]", "error parsing IPv6 address '[::1]'"),
        ("nbd:h:1,to=x", "error parsing to= argument"),
        ("nbd:h:1,ipv4=x", "error parsing 'ipv4' flag '=x'"),
        ("nbd+unix:/x", "File name string for NBD must start with 'nbd:'"),
        *[
            (name, "No valid URL specified")
            for name in (
                "nbd://",
                "nbd:///x",
                "nbd://h:1/x?a=b",
                "nbd://h:99999/x",
                "nbd://h:x/x",
                "nbd://h:/x",
                "nbd://a b/x",
                "nbd://h:1/ä",
                "nbd:x://h:1",
                "nbd+unix:///x",
                "nbd+unix://h/?socket=/s",
                "nbd+unix:///x?sock=/s",
                "nbd+unix:///x?socket=/s&a=b",
                "nbd+unix:///?socket",
            )
        ],
        ("json:", "Could not parse the JSON options: Expecting a JSON value"),
        ("json:x", "Could not parse the JSON options: JSON parse error, invalid keyword 'x'"),
        ("json:[]", "Invalid JSON object given"),
        ("json:{}", "Must specify either driver or file"),
        ('json:{"driver":5}', "Must specify either driver or file"),
        ('json:{"filename":"a.raw"}', "Must specify either driver or file"),
        ('json:{"driver":"raw","file":{"offset":1}}', "Must specify either driver or file"),
        ('json:{"driver":"qcow2","file":"x","backing":{"filename":"a"}}', "Must specify either driver or file"),
    ],
)
def test_name_that_is_wrong_is_explained_in_qemu_s_words(name: str, message: str) -> None:
    assert problem(name) == message


def test_name_within_names_is_bounded() -> None:
    assert problem("blkdebug::" * (MAX_NESTING + 1) + "a") == f"names more than {MAX_NESTING} nodes"


@pytest.mark.parametrize(
    ("name", "driver", "table"),
    [
        ("a.raw", "raw", {"driver": "raw", "file": file("a.raw")}),
        ("null-co://", "raw", {"driver": "raw", "file": {"driver": "null-co"}}),
        ("a.raw", "file", file("a.raw")),
        ("nbd:x", "file", file("nbd:x")),
        ("file:a.raw", "file", file("a.raw")),
        ("null-co://", "null-co", {"driver": "null-co"}),
        ("a.raw", "blkdebug", {"driver": "blkdebug", "image": file("a.raw")}),
        ("blkdebug::a.raw", "blkdebug", {"driver": "blkdebug", "image": file("a.raw")}),
        ("a.raw", "compress", {"driver": "compress", "file": file("a.raw")}),
        ('json:{"driver":"qcow2","file.filename":"a"}', "raw", {"driver": "raw", "file": file("a")}),
    ],
)
def test_name_with_a_driver_gives_its_node(name: str, driver: str, table: dict[str, Any]) -> None:
    assert image_table(name, driver) == table


def test_name_with_a_driver_that_does_not_take_it_is_explained() -> None:
    assert problem("x", "null-co") == "The only allowed filename for this driver is 'null-co://'"
    assert problem("x", "blkverify") == 'A block device must be specified for "raw"'


# ---- json:


@pytest.mark.parametrize(
    ("options", "table"),
    [
        ({"driver": "file", "filename": "a"}, file("a")),
        ({"driver": "file", "filename": "file:a"}, file("file:a")),
        ({"driver": "raw", "file": {"filename": "file:a"}}, {"driver": "raw", "file": file("file:a")}),
        ({"driver": "raw", "file.driver": "file", "file": {"filename": "a"}}, {"driver": "raw", "file": file("a")}),
        ({"file.filename": "/dev/null"}, {"file": {"driver": "host_device", "filename": "/dev/null"}}),
        ({"driver": "raw", "file": "node0"}, {"driver": "raw", "file": "node0"}),
        ({"driver": "raw", "file": None}, {"driver": "raw"}),
        ({"driver": "raw", "file": []}, {"driver": "raw"}),
        ({"driver": "raw", "file": 5}, {"driver": "raw"}),
        ({"driver": 5, "file": {"filename": "a"}}, {"file": file("a")}),
        (
            {"driver": "qcow2", "file": {"filename": "a"}, "backing": None},
            {"driver": "qcow2", "file": file("a"), "backing": None},
        ),
        (
            {"driver": "qcow2", "file.filename": "a", "backing.file.filename": "b"},
            {"driver": "qcow2", "file": file("a"), "backing": {"file": file("b")}},
        ),
        ({"driver": "blkdebug", "x-image": "a"}, {"driver": "blkdebug", "image": file("a")}),
        (
            {"driver": "blkverify", "x-raw": "a", "x-image": "b"},
            {"driver": "blkverify", "raw": file("a"), "test": {"file": file("b")}},
        ),
        ({"driver": "nbd", "server": {"type": "unix"}}, {"driver": "nbd", "server": {"type": "unix"}}),
    ],
)
def test_json_is_the_nested_table(options: dict[str, Any], table: dict[str, Any]) -> None:
    assert image_table(f"json:{json.dumps(options)}") == table


# ---- --image-opts


@pytest.mark.parametrize(
    ("text", "table"),
    [
        (
            "driver=qcow2,file.driver=file,file.filename=a,,b.img",
            {"driver": "qcow2", "file": file("a,b.img")},
        ),
        ("file.filename=a.qcow2", {"file": file("a.qcow2")}),
        ("node0", {"file": "node0"}),
        (
            "driver=blkdebug,image.filename=a,inject-error.0.event=read_aio,inject-error.1.errno=5",
            {"driver": "blkdebug", "image": file("a"), "inject-error": [{"event": "read_aio"}, {"errno": "5"}]},
        ),
    ],
)
def test_options_are_the_nested_table(text: str, table: dict[str, Any]) -> None:
    assert options_table(text) == table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Must specify either driver or file"),
        ("=x", "Must specify either driver or file"),
        ("filename=a.raw", "Must specify either driver or file"),
        (
            "driver=raw,file=x,file.filename=a.raw",
            "Cannot reference an existing block device with additional options or a new filename",
        ),
        ("driver=nbd,server.type.a=1,server.type=inet", "Cannot mix scalar and non-scalar keys"),
        ("driver=blkverify,test.filename=a,raw.filename=b", "Must specify either driver or file"),
    ],
)
def test_options_that_are_wrong_are_explained_in_qemu_s_words(text: str, message: str) -> None:
    assert options_problem(text) == message


# ---- anything

#: Pieces that names are made of, between spaces.
WORDS = """
    json: nbd: nbd+unix:// blkdebug: blkverify: file: unix: :exportname= ?socket= { } [ ] : , / // %41 % [::1] host 1 =
    . "file" "driver" "raw"
"""
words = st.sampled_from(WORDS.split())
names = st.one_of(
    st.text(), st.lists(words, max_size=12).map("".join), st.lists(words, max_size=12).map("json:{}".join)
)


@given(names, st.sampled_from([None, "raw", "file", "nbd", "blkdebug", "blkverify", "null-co", "http"]))
def test_name_any_text_is_a_table_or_a_config_error(name: str, driver: str | None) -> None:
    try:
        table = image_table(name, driver)
    except ConfigError as error:
        assert error.problem
    else:
        assert "driver" in table or "file" in table


@given(st.one_of(st.text(), st.text("file.drvnam=,0", max_size=40)))
def test_options_any_text_is_a_table_or_a_config_error(text: str) -> None:
    try:
        table = options_table(text)
    except ConfigError as error:
        assert error.problem
    else:
        assert "driver" in table or "file" in table
