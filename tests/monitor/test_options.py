# SPDX-License-Identifier: GPL-2.0-or-later
"""[qmp] and [[monitor]]: what they mean, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncemu.config.load import check
from asyncemu.config.sharing import monitor_chardevs
from asyncemu.errors import ConfigErrors

NULL = {"id": "null", "backend": "null"}
MUX = {"id": "mux", "backend": "null", "mux": True}


def problems(tables: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        check(tables, Path("/vm"))
    return str(caught.value).splitlines()


def test_qmp_listens_at_one_address_or_several() -> None:
    one = check({"qmp": {"listen": "unix:a.sock"}}, Path("/vm")).monitors
    several = check({"qmp": {"listen": ["tcp::0", "ws:127.0.0.1:1"], "pretty": True}}, Path("/vm")).monitors

    assert [(entry.identity, entry.where) for entry in one] == [("compat_monitor0", "qmp.listen")]
    assert [(entry.identity, entry.where, entry.options.pretty) for entry in several] == [
        ("compat_monitor0", "qmp.listen[0]", True),
        ("compat_monitor1", "qmp.listen[1]", True),
    ]


def test_qmp_chardevs_are_servers_that_wait_for_nobody() -> None:
    entries = check(
        {
            "qmp": {
                "listen": ["unix:a.sock", "tcp::5", "ws:[::1]:6"],
            }
        },
        Path("/vm"),
    ).monitors
    options: list[Any] = [entry.own_chardev.options for entry in entries if entry.own_chardev is not None]

    assert [(each.path, each.host, each.port, each.websocket) for each in options] == [
        (Path("/vm/a.sock"), "", None, False),
        (None, "127.0.0.1", 5, False),
        (None, "::1", 6, True),
    ]
    assert all(each.server and each.wait is False for each in options)


def test_qmp_token_is_the_websockets() -> None:
    entry = check({"qmp": {"listen": "ws::1", "token": "abc"}}, Path("/vm")).monitors[0]

    assert entry.own_chardev is not None
    assert entry.own_chardev.options.token == "abc"  # type: ignore[attr-defined]


def test_monitor_is_on_a_chardev_and_has_its_name() -> None:
    config = check({"chardev": [NULL], "monitor": [{"chardev": "null", "mode": "control"}]}, Path("/vm"))

    assert [(entry.identity, entry.options.mode) for entry in config.monitors] == [("null", "control")]


def test_monitor_qmp_lives_apart_but_on_a_shared_chardev() -> None:
    config = check(
        {
            "chardev": [NULL, MUX, {"id": "h", "backend": "null"}],
            "monitor": [
                {"id": "a", "chardev": "null", "mode": "control"},
                {"id": "b", "chardev": "mux", "mode": "control"},
                {"id": "c", "chardev": "h"},
            ],
        },
        Path("/vm"),
    )

    assert [each.apart for each in monitor_chardevs(config.monitors, config.chardevs)] == [True, False, False]


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"qmp": {}}, "qmp.listen: is missing"),
        ({"qmp": {"listen": []}}, "qmp.listen"),
        ({"qmp": {"listen": "x.sock"}}, "write unix:PATH, tcp:HOST:PORT or ws:HOST:PORT"),
        ({"qmp": {"listen": "ws:1:99999"}}, "write unix:PATH, tcp:HOST:PORT or ws:HOST:PORT"),
        ({"qmp": {"listen": "unix:a", "token": "x"}}, "token is for ws: addresses"),
        ({"qmp": []}, "qmp: is not a table"),
        ({"qmp": {"listen": "unix:a", "prety": True}}, "qmp.prety"),
        ({"monitor": {}}, "monitor: is not a list of tables; write [[monitor]]"),
        ({"monitor": [{}]}, "monitor[0].chardev: is missing"),
        ({"monitor": [{"chardev": "nul"}], "chardev": [NULL]}, "monitor[0].chardev: no chardev is named 'nul'"),
        ({"monitor": [{"chardev": "null", "mode": "hmp"}], "chardev": [NULL]}, "monitor[0].mode"),
        ({"monitor": [{"chardev": "null", "pretty": True}], "chardev": [NULL]}, "pretty is for mode"),
        ({"monitor": [{"id": "1", "chardev": "null"}], "chardev": [NULL]}, "monitor[0].id: '1' is not a name"),
        (
            {"monitor": [{"id": "m", "chardev": "mux"}] * 2, "chardev": [MUX]},
            "monitor[1].id: 'm' is the name of monitor[0] already; choose another",
        ),
        (
            {"monitor": [{"id": "a", "chardev": "null"}, {"id": "b", "chardev": "null"}], "chardev": [NULL]},
            "monitor[1].chardev: chardev 'null' is in use by monitor[0].chardev already",
        ),
        (
            {"monitor": [{"chardev": "null"}], "chardev": [NULL], "machine": {"serial": "null"}},
            "monitor[0].chardev: chardev 'null' is in use by machine.serial already",
        ),
        (
            {"qmp": {"listen": "unix:a"}, "chardev": [{"id": "compat_monitor0", "backend": "null"}]},
            "qmp.listen: the chardev 'compat_monitor0' that it makes is there already; give that one another id",
        ),
        ({"qmpp": {}}, "qmpp: unknown table; did you mean 'qmp'?"),
    ],
    ids=str,
)
def test_mistake_is_told_with_its_place(tables: dict[str, Any], problem: str) -> None:
    assert problem in problems(tables)[0]
    assert len(problems(tables)) == 1
