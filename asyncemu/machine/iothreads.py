# SPDX-License-Identifier: GPL-2.0-or-later
"""[[iothread]] tables; and which iothread the objects of a machine live in.

A device says where it lives (``iothread``, ``iothread-vq-mapping``). A character back end lives where its user does: it
is opened there. Block nodes are opened in the main loop and move to their user, with all that is connected with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from asyncemu.errors import ConfigError
from asyncemu.loop import IOThreadParameters
from asyncemu.machine.references import references
from asyncemu.options import Options
from asyncemu.plugin_options import Configured, take_identity, validate

#: ns; longer than a second of polling is a mistake.
_MAX_POLL = 1_000_000_000
#: More threads than a pool can want.
_MAX_POOL = 1024

_DEFAULTS = IOThreadParameters()


class IOThreadOptions(Options):
    """[[iothread]], without its id; QEMU's names."""

    poll_max_ns: int = Field(
        default=_DEFAULTS.poll_max_ns,
        ge=0,
        le=_MAX_POLL,
        description="Polling before it sleeps, at most; 0: none.",
    )
    poll_grow: int = Field(default=0, ge=0, le=64, description="Factor of longer polling; 0: 2.")
    poll_shrink: int = Field(default=0, ge=0, le=64, description="Divisor of shorter polling; 0: none at all next.")
    aio_max_batch: int = Field(
        default=0, ge=0, le=_MAX_POOL, description="Requests handed to io_uring at once; 0: all there are."
    )
    thread_pool_min: int = Field(default=0, ge=0, le=_MAX_POOL, description="Worker threads that stay.")
    thread_pool_max: int = Field(
        default=_DEFAULTS.thread_pool_max, ge=1, le=_MAX_POOL, description="Worker threads at most."
    )

    @model_validator(mode="after")
    def _bounds(self) -> IOThreadOptions:
        if self.thread_pool_min > self.thread_pool_max:
            raise ValueError(f"thread-pool-min {self.thread_pool_min} is above thread-pool-max {self.thread_pool_max}")
        return self

    def parameters(self) -> IOThreadParameters:
        """For IOThread."""
        return IOThreadParameters(**self.model_dump())


@dataclass(frozen=True, slots=True)
class IOThreadEntry:
    """A checked [[iothread]] table."""

    identity: str
    options: IOThreadOptions


def configure_iothread(table: Mapping[str, Any], where: str) -> IOThreadEntry:
    """``table``, which is at the TOML path ``where``. Raises ConfigErrors."""
    rest = dict(table)
    identity = take_identity("iothread", rest, where)
    if not identity:
        raise ConfigError(f"{where}.id", "is missing", "name it, so that a device can refer to it")
    return IOThreadEntry(identity, validate(IOThreadOptions, rest, where, other_keys=("id",)))


def home_of(device: Configured) -> str:
    """Id of the iothread that a device lives in; empty: the main loop."""
    home_iothread = getattr(device.options, "home_iothread", None)
    return home_iothread() if home_iothread is not None else ""


def chardev_homes(devices: Sequence[Configured | None], serial: str) -> dict[str, tuple[str, str]]:
    """By id: (iothread, TOML path of the user) of each chardev that a device uses; ``serial`` is the UART's."""
    homes: dict[str, tuple[str, str]] = {serial: ("", "machine.serial")} if serial else {}
    for path, home, kind, name in _uses(devices):
        if kind == "chardev":
            homes.setdefault(name, (home, path))
    return homes


def home_conflicts(devices: Sequence[Configured | None], serial: str) -> Iterator[ConfigError]:
    """Chardevs and block nodes whose users live apart."""
    homes: dict[tuple[str, str], tuple[str, str]] = {}
    if serial:
        homes["chardev", serial] = ("", "machine.serial")
    for path, home, kind, name in _uses(devices):
        if kind == "iothread":
            continue
        first_home, first = homes.setdefault((kind, name), (home, path))
        if first_home != home:
            problem = f"{kind} {name!r} is used in {_called(home)}, and by {first} in {_called(first_home)}"
            yield ConfigError(path, problem, "give its users the same iothread")


def _uses(devices: Sequence[Configured | None]) -> Iterator[tuple[str, str, str, str]]:
    """(TOML path, home, table, name) of each reference of a device."""
    for index, device in enumerate(devices):
        if device is not None:
            home = home_of(device)
            for path, _, kind, name in references(device.options, f"device[{index}]"):
                yield path, home, kind, name


def _called(iothread: str) -> str:
    return f"iothread {iothread!r}" if iothread else "the main loop"
