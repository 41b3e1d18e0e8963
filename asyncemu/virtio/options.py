# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that every virtio device takes: where it lives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asyncemu.options import Options
from asyncemu.plain_options import AnyOptions, PlainOptions
from asyncemu.plain_options_pydantic import model_of
from asyncemu.plugins import Reference


class VirtioOptions(Options):
    """Base of the options of virtio devices; a device whose options have another base gets these too."""

    iothread: Annotated[
        str, Reference("iothread"), Field(description="The iothread that the device lives in; default: the main loop.")
    ] = ""

    def home_iothread(self) -> str:
        """Id of the iothread that the device's home is; empty: the main loop."""
        return self.iothread


def with_virtio_options(options_type: type[AnyOptions]) -> type[Options]:
    """``options_type`` and VirtioOptions in one."""
    if issubclass(options_type, VirtioOptions):
        return options_type
    if options_type in (Options, PlainOptions):
        return VirtioOptions
    namespace = {"__module__": options_type.__module__, "__doc__": options_type.__doc__}
    return type(options_type.__name__, (model_of(options_type), VirtioOptions), namespace)
