# SPDX-License-Identifier: GPL-2.0-or-later
"""Options in text, typed by the classes that declare them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.hmp.option_text import configured_by_text, split, typed
from asyncemu.options import Options
from asyncemu.size import Size


class Example(Options):
    """One option of each type."""

    on: bool = False
    maybe: bool | None = None
    count: int = Field(default=0, ge=0)
    limit: int | None = None
    size: Size = 0
    text: str = ""
    names: list[str] = Field(default_factory=list)
    long_name: Annotated[str, "an option"] = ""


OWN = {"type": str, "nr": int}


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", {}),
        ("x,on=on,maybe=off", {"type": "x", "on": True, "maybe": False}),
        ("type=x,on", {"type": "x", "on": True}),
        ("x,noon", {"type": "x", "on": False}),
        ("x,count=5,limit=0x10,nr=7", {"type": "x", "count": 5, "limit": 16, "nr": 7}),
        ("x,size=1K", {"type": "x", "size": 1024}),
        ("x,text=a,,b,text=5", {"type": "x", "text": "5"}),
        ("x,names=a,names=b", {"type": "x", "names": ["a", "b"]}),
        ("x,long_name=on", {"type": "x", "long_name": "on"}),
        ("x,inner.a=1,inner.b=2", {"type": "x", "inner": {"a": "1", "b": "2"}}),
        ("x,unknown=5", {"type": "x", "unknown": "5"}),
    ],
)
def test_text_is_typed_by_what_is_declared(text: str, members: dict[str, Any]) -> None:
    assert typed(Example, split(text, "type"), OWN) == members


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,on=maybe", "Parameter 'on' expects 'on' or 'off'"),
        ("x,count=a", "Parameter 'count' expects integer"),
        ("x,limit=1K", "Parameter 'limit' expects integer"),
        ("x,nr=", "Parameter 'nr' expects integer"),
        ("x,size=big", "Parameter 'size' expects a non-negative number below 2^64"),
        ("x,a=1,a.b=2", "Parameters 'a.*' used inconsistently"),
    ],
)
def test_value_of_another_type_is_named(text: str, message: str) -> None:
    with pytest.raises(QmpError) as caught:
        typed(Example, split(text, "type"), OWN)

    assert str(caught.value) == message


def test_without_a_variant_all_is_text() -> None:
    assert typed(None, split("x,on=on,nr=1", "type"), OWN) == {"type": "x", "on": "on", "nr": 1}


def test_configured_is_the_plug_in_with_its_options(tmp_path: Path) -> None:
    found = configured_by_text("chardev", "backend", split("ringbuf,id=r,size=2K", "backend"), tmp_path)

    assert (found.plugin.name, found.identity, getattr(found.options, "size", 0)) == ("ringbuf", "r", 2048)


def test_configured_with_a_wrong_id_is_refused() -> None:
    with pytest.raises(QmpError, match="Parameter 'id' expects an identifier"):
        configured_by_text("chardev", "backend", split("null,id=5", "backend"), None)


@given(st.text(alphabet="ontypesizcua=.,1K", max_size=60))
def test_any_text_is_members_or_refused(text: str) -> None:
    try:
        members = typed(Example, split(text, "type"), OWN)
    except QmpError:
        return

    assert all(isinstance(key, str) for key in members)
