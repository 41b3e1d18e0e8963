# SPDX-License-Identifier: GPL-2.0-or-later
"""WireModel: typed values that go over a monitor's wire, with QEMU's names (QAPI).

A field ``node_name`` is the member ``node-name``; names with an underscore on the wire get an explicit alias. Values
are taken as they are: "1" is no number, 1 no truth value. A member that is None is absent.
The models validate what comes in, and ``query-qmp-schema`` is generated from them.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from asyncemu.spelling import toml_name


class WireModel(BaseModel):
    """Base of arguments, results and events; unknown members are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=toml_name, populate_by_name=True
    )

    def to_wire(self) -> dict[str, Any]:
        """The JSON object: members by their names on the wire, without those that are absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
