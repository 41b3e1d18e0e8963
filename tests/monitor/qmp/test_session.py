# SPDX-License-Identifier: GPL-2.0-or-later
"""What a client and a monitor may say to each other. The words are compared with QEMU's in test_against_qemu.py."""

from __future__ import annotations

from typing import Any

import pytest

from asyncemu.monitor.qmp.json_reader import JsonItem
from asyncemu.monitor.qmp.session import Session


def ask(session: Session, **message: Any) -> dict[str, Any]:
    """What a session answers that negotiates."""
    return session.negotiate(session.take(JsonItem({name.replace("_", "-"): value for name, value in message.items()})))


def error(text: str, error_class: str = "GenericError") -> dict[str, Any]:
    return {"error": {"class": error_class, "desc": text}}


def test_greeting_offers_oob() -> None:
    assert Session().greeting({"package": "x"}) == {"QMP": {"version": {"package": "x"}, "capabilities": ["oob"]}}


def test_negotiate_any_other_command_is_refused_and_the_session_goes_on() -> None:
    session = Session()

    answer = ask(session, execute="query-name")

    assert answer == error("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound")
    assert not session.negotiated


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"enable": ["foo"]}, "Parameter 'enable[0]' does not accept value 'foo'"),
        ({"enable": [1]}, "Invalid parameter type for 'enable[0]', expected: string"),
        ({"enable": "oob"}, "Invalid parameter type for 'enable', expected: array"),
        ({"a": 1}, "Parameter 'a' is unexpected"),
    ],
)
def test_negotiate_capabilities_that_are_not_there_is_an_error(arguments: dict[str, Any], problem: str) -> None:
    session = Session()

    assert ask(session, execute="qmp_capabilities", arguments=arguments) == error(problem)
    assert not session.negotiated


@pytest.mark.parametrize(("enable", "oob"), [(None, False), ([], False), (["oob"], True), (["oob", "oob"], True)])
def test_negotiate_opens_the_session(enable: list[str] | None, oob: bool) -> None:
    session = Session()
    arguments = {"enable": enable} if enable is not None else {}

    answer = ask(session, execute="qmp_capabilities", arguments=arguments, id={"a": 1})

    assert (answer, session.negotiated, session.oob) == ({"return": {}, "id": {"a": 1}}, True, oob)


def test_take_out_of_band_without_oob_is_unexpected() -> None:
    request = Session().take(JsonItem({"exec-oob": "query-yank", "id": None}))

    assert str(request.error) == "QMP input member 'exec-oob' is unexpected"
    assert request.refusal(request.error)["id"] is None  # type: ignore[arg-type]
