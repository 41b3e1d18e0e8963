# SPDX-License-Identifier: GPL-2.0-or-later
"""[qmp] and [[monitor]]: what speaks with those who control the machine, and where.

[[monitor]] is QEMU's -mon: a chardev that is there already, with QMP or the human monitor on it. [qmp] is the short way
(-qmp): it makes the chardevs, too, socket servers that wait for nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from annotated_types import Len
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from asyncemu.chardev.address import InetAddress, parse_address
from asyncemu.errors import ConfigError
from asyncemu.host_path import relative_to_config
from asyncemu.options import Options
from asyncemu.plugin_options import Configured, configure, take_identity, validate
from asyncemu.plugins import Reference

#: Sockets of [qmp]; arbitrary, far more than anybody wants.
MAX_LISTENERS: Final = 1024

#: QEMU's name of the chardev and the monitor that -qmp makes.
_OWN_NAME: Final = "compat_monitor"


def _address(value: str, info: ValidationInfo) -> str:
    kind, _, rest = value.partition(":")
    try:
        address = parse_address(f"tcp:{rest}" if kind == "ws" else value)
    except ValueError as error:
        raise ValueError(f"{str(error).partition(';')[0]}; write unix:PATH, tcp:HOST:PORT or ws:HOST:PORT") from None
    return value if isinstance(address, InetAddress) else f"unix:{relative_to_config(address, info)}"


def _in_a_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[
    list[Address], Len(1, MAX_LISTENERS), BeforeValidator(_in_a_list, json_schema_input_type=str | list[str])
]


class QmpOptions(Options):
    """[qmp]"""

    listen: Addresses = Field(
        description="Where clients connect: unix:PATH, tcp:HOST:PORT, ws:HOST:PORT (websocket), or a list of these; "
        "a socket file is for its owner only, an empty HOST is this machine's loopback."
    )
    pretty: bool = Field(False, description="Replies for people, in several lines.")
    token: str | None = Field(
        None, min_length=1, description="ws: clients must present it (Authorization: Bearer TOKEN)."
    )

    @model_validator(mode="after")
    def _token_is_for_websockets(self) -> QmpOptions:
        if self.token is not None and not all(address.startswith("ws:") for address in self.listen):
            raise ValueError("token is for ws: addresses; leave it out, or listen at no others")
        return self


class MonitorOptions(Options):
    """[[monitor]], without its id."""

    chardev: Annotated[str, Reference("chardev")] = Field(description="id of the chardev that it speaks over.")
    mode: Literal["readline", "control"] = Field(
        "readline", description="readline: the human monitor; control: QMP, for programs."
    )
    pretty: bool = Field(False, description="QMP: replies for people, in several lines.")

    @model_validator(mode="after")
    def _pretty_is_for_qmp(self) -> MonitorOptions:
        if self.pretty and self.mode != "control":
            raise ValueError('pretty is for mode = "control"')
        return self


@dataclass(frozen=True, slots=True)
class MonitorEntry:
    """A monitor that a machine is to have."""

    identity: str
    options: MonitorOptions
    #: Its TOML path.
    where: str
    #: The chardev that is made for it; None: it is one of [[chardev]].
    own_chardev: Configured | None = None


def configure_monitor(table: Mapping[str, Any], where: str) -> MonitorEntry:
    """A [[monitor]] table, which is at the TOML path ``where``. Raises ConfigErrors."""
    rest = dict(table)
    identity = take_identity("monitor", rest, where)
    options = validate(MonitorOptions, rest, where, other_keys=("id",))
    return MonitorEntry(identity or options.chardev, options, where)


def configure_qmp(table: Mapping[str, Any], directory: Path) -> list[MonitorEntry]:
    """The monitors of [qmp], each with its chardev. Raises ConfigErrors."""
    options = validate(QmpOptions, table, "qmp", directory)
    entries: list[MonitorEntry] = []
    for index, address in enumerate(options.listen):
        where = f"qmp.listen[{index}]" if len(options.listen) > 1 else "qmp.listen"
        name = f"{_OWN_NAME}{index}"
        chardev = configure(
            "chardev", {"id": name, **_socket_table(address, options.token)}, where, directory, all_errors=True
        )
        monitor = MonitorOptions(chardev=name, mode="control", pretty=options.pretty)
        entries.append(MonitorEntry(name, monitor, where, chardev))
    return entries


def _socket_table(address: str, token: str | None) -> dict[str, Any]:
    kind, _, rest = address.partition(":")
    table: dict[str, Any] = {"backend": "socket", "server": True, "wait": False}
    if kind == "unix":
        return {**table, "path": rest}
    inet = parse_address(f"tcp:{rest}")
    assert isinstance(inet, InetAddress)  # it was checked
    table |= {"host": inet.host or "127.0.0.1", "port": inet.port}
    if kind == "ws":
        table["websocket"] = True
        if token is not None:
            table["token"] = token
    return table


def name_errors(entries: Sequence[MonitorEntry], chardevs: Set[object]) -> list[ConfigError]:
    """Monitors, and chardevs that [qmp] makes, whose name is taken; ``chardevs``: those of [[chardev]]."""
    errors: list[ConfigError] = []
    owners: dict[str, str] = {}
    for entry in entries:
        where = entry.where if entry.own_chardev is not None else f"{entry.where}.id"
        if owners.setdefault(entry.identity, entry.where) != entry.where:
            problem = f"{entry.identity!r} is the name of {owners[entry.identity]} already"
            errors.append(ConfigError(where, problem, "choose another"))
        elif entry.own_chardev is not None and entry.identity in chardevs:
            problem = f"the chardev {entry.identity!r} that it makes is there already"
            errors.append(ConfigError(where, problem, "give that one another id"))
    return errors
