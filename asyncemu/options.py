# SPDX-License-Identifier: GPL-2.0-or-later
"""Options: typed options as a pydantic model, for what a machine is made of.

Block drivers, which the tools load too, have ``PlainOptions`` (plain_options.py).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from asyncemu.plain_options import AnyOptions
from asyncemu.spelling import toml_name


class Options(BaseModel, AnyOptions):
    """The keys a plug-in takes in vm.toml; a field ``read_only`` is the key ``read-only``. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=toml_name, populate_by_name=True)
