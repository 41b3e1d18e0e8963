# SPDX-License-Identifier: GPL-2.0-or-later
"""File names of the driver, in QEMU's syntax and with its messages."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block.nbd.uri import inet_uri, parse_filename, unix_uri
from asyncemu.errors import ConfigError


def unix(path: str, export: str | None = None) -> dict[str, object]:
    """Options."""
    return {"server": {"type": "unix", "path": path}, **({} if export is None else {"export": export})}


def inet(host: str, port: str, export: str | None = None) -> dict[str, object]:
    """Options."""
    return {"server": {"type": "inet", "host": host, "port": port}, **({} if export is None else {"export": export})}


@pytest.mark.parametrize(
    ("filename", "options"),
    [
        ("nbd://host", inet("host", "10809")),
        ("nbd://host/", inet("host", "10809")),
        ("nbd://host:1234/export", inet("host", "1234", "export")),
        ("nbd+tcp://[::1]:1234/a/b", inet("::1", "1234", "a/b")),
        ("nbd://host//absolute", inet("host", "10809", "/absolute")),
        ("nbd://host/a%20b%2fc", inet("host", "10809", "a b/c")),
        ("nbd+unix:///export?socket=/run/a.sock", unix("/run/a.sock", "export")),
        ("nbd+unix:///?socket=a%20b", unix("a b")),
        ("nbd:unix:/run/a.sock", unix("/run/a.sock")),
        ("nbd:unix:/run/a:b:exportname=x:y", unix("/run/a:b", "x:y")),
        ("nbd:host:1234", inet("host", "1234")),
        ("nbd:[::1]:1234:exportname=e", inet("::1", "1234", "e")),
    ],
)
def test_parse_filename(filename: str, options: dict[str, object]) -> None:
    assert parse_filename(filename) == options


@pytest.mark.parametrize(
    ("filename", "problem"),
    [
        ("nbd:foo", "error parsing address 'foo'"),
        ("nbd:[::1", "error parsing address '[::1'"),
        ("nbd+foo://x", "Unknown protocol 'nbd+foo'"),
        ("nbd+unix:///exp", "No valid URL specified"),
        ("nbd+unix://host/exp?socket=a", "No valid URL specified"),
        ("nbd+unix:///exp?socket=a&b=c", "No valid URL specified"),
        ("nbd://localhost/x?socket=a", "No valid URL specified"),
        ("nbd://", "No valid URL specified"),
        ("nbd://host:99999/", "No valid URL specified"),
        ("nbd://[::1/", "No valid URL specified"),
    ],
)
def test_parse_filename_that_is_none(filename: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_filename(filename)
    assert raised.value.problem == problem


@settings(deadline=None)
@given(st.text(max_size=40), st.sampled_from(("nbd:", "nbd://", "nbd+unix://", "nbd+tcp://", "nbd:unix:")))
def test_parse_filename_anything_gives_options_or_an_error(rest: str, prefix: str) -> None:
    with contextlib.suppress(ConfigError):
        assert "server" in parse_filename(prefix + rest)


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)


@settings(deadline=None)
@given(names.filter(bool), names)
def test_unix_uri_round_trip(path: str, export: str) -> None:
    assert parse_filename(unix_uri(path, export)) == unix(path, export or None)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (unix_uri("/tmp/q.sock", "exp"), "nbd+unix:///exp?socket=/tmp/q.sock"),
        (unix_uri("/tmp/q.sock", ""), "nbd+unix://?socket=/tmp/q.sock"),
        (inet_uri("host", "10809", "exp"), "nbd://host:10809/exp"),
        (inet_uri("::1", "10809", ""), "nbd://[::1]:10809"),
    ],
)
def test_uri_is_as_qemu_writes_it(uri: str, expected: str) -> None:
    assert uri == expected
