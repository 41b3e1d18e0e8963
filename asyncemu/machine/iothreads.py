# SPDX-License-Identifier: GPL-2.0-or-later
"""[[iothread]] tables; homes.py says who lives in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from asyncemu.errors import ConfigError
from asyncemu.loop import IOThreadParameters
from asyncemu.options import Options
from asyncemu.plugin_options import take_identity, validate

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
