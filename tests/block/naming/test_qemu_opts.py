# SPDX-License-Identifier: GPL-2.0-or-later
"""key=value,... as --image-opts (QemuOpts) and --object (keyval) take it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.naming.keyval import parse_keyval
from asyncemu.block.naming.qemu_opts import Opt, parse_opts
from asyncemu.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "opts"),
    [
        ("", []),
        ("driver=raw,file.filename=a,,b", [Opt("driver", "raw"), Opt("file.filename", "a,b")]),
        ("node0", [Opt("file", "node0")]),
        ("node0,size=1", [Opt("file", "node0"), Opt("size", "1")]),
        (",", [Opt("file", "")]),
        ("a=,b=", [Opt("a", ""), Opt("b", "")]),
        ("=x", [Opt("", "x")]),
        ("a=1,flag,noflag", [Opt("a", "1"), Opt("flag", "on", True), Opt("flag", "off", True)]),
        ("a=b=c", [Opt("a", "b=c")]),
        ("a=1,a=2", [Opt("a", "1"), Opt("a", "2")]),
        ("a=1,", [Opt("a", "1")]),
        ("a=x,,", [Opt("a", "x,")]),
        ("id=x-1.y_", [Opt("id", "x-1.y_")]),
    ],
)
def test_opts_are_split(text: str, opts: list[Opt]) -> None:
    assert parse_opts(text, "file") == opts


@pytest.mark.parametrize("identity", ["", "5", "a b", "_x"])
def test_opts_id_that_is_none_is_refused(identity: str) -> None:
    with pytest.raises(ConfigError, match="Parameter 'id' expects an identifier"):
        parse_opts(f"a=1,id={identity}")


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("", {}),
        ("secret,id=s,data=x,,y", {"qom-type": "secret", "id": "s", "data": "x,y"}),
        ("qom-type=secret,id=s", {"qom-type": "secret", "id": "s"}),
        ("id=s,data=x,data=y", {"id": "s", "data": "y"}),
        ("t,limits.iops-total=5", {"qom-type": "t", "limits": {"iops-total": "5"}}),
        ("t,a.1=y,a.0=x", {"qom-type": "t", "a": ["x", "y"]}),
        ("t,a.0.b=1", {"qom-type": "t", "a": [{"b": "1"}]}),
        ("t,a.00=x", {"qom-type": "t", "a": ["x"]}),
        ("secret,", {"qom-type": "secret"}),
        ("secret,data=", {"qom-type": "secret", "data": ""}),
    ],
)
def test_keyval_is_nested(text: str, table: dict[str, Any]) -> None:
    assert parse_keyval(text, "qom-type") == table


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # As qemu-img --object said.
        (",", "Invalid parameter ''"),
        ("=", "Invalid parameter ''"),
        ("secret,,id=s", "Invalid parameter ''"),
        ("secret,id=s,data", "Expected '=' after parameter 'data'"),
        ("secret,.=x", "Invalid parameter '.'"),
        ("secret,a.=x", "Invalid parameter 'a.'"),
        ("secret,a..b=x", "Invalid parameter 'a..b'"),
        ("secret,5=x", "Invalid parameter '5'"),
        ("secret,_=x", "Invalid parameter '_'"),
        ("secret,a+b=x", "Invalid parameter 'a+b'"),
        ("secret,a.-1=1", "Invalid parameter 'a.-1'"),
        ("secret,a.0x1=1", "Invalid parameter 'a.0x1'"),
        ("secret, data=1", "Invalid parameter ' data'"),
        ("secret,?=x", "Invalid parameter '?'"),
        ("secret;id=s", "Invalid parameter 'secret;id'"),
        ("secret,a.b=x,a=y", "Parameters 'a.*' used inconsistently"),
        ("secret,a=y,a.b=x", "Parameters 'a.*' used inconsistently"),
        ("secret,a.0=x,a.b=y", "Parameters 'a.*' used inconsistently"),
        ("secret,a.0.b=1,a.0=x", "Parameters 'a.0.*' used inconsistently"),
        ("secret,a.1=x", "Parameter 'a.0' missing"),
        ("secret,a.0=1,a.2=x", "Parameter 'a.1' missing"),
        ("secret,a.99999999999=x", "Parameter 'a.0' missing"),
        ("a" * 128 + "=x", f"Parameter '{'a' * 128}' is too long"),
    ],
)
def test_keyval_mistake_is_explained_in_qemu_s_words(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_keyval(text, "qom-type")

    assert raised.value.problem == problem


texts = st.one_of(st.text(), st.text("ab.,=01-", max_size=30))


@given(texts)
def test_opts_any_text_is_a_list_or_a_config_error(text: str) -> None:
    try:
        opts = parse_opts(text, "file")
    except ConfigError:
        return
    assert len(opts) <= text.count(",") + 1


@given(texts)
def test_keyval_any_text_is_a_table_or_a_config_error(text: str) -> None:
    try:
        assert isinstance(parse_keyval(text, "qom-type"), dict)
    except ConfigError as error:
        assert error.problem


@given(st.lists(st.tuples(st.text("abc.", min_size=1), st.text("abc,=", max_size=8))))
def test_opts_that_were_joined_are_split_again(pairs: list[tuple[str, str]]) -> None:
    text = ",".join(f"{key}={value.replace(',', ',,')}" for key, value in pairs)

    assert [(opt.key, opt.value) for opt in parse_opts(text)] == pairs
