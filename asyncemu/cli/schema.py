# SPDX-License-Identifier: GPL-2.0-or-later
"""Print the JSON schema of vm.toml, with all installed plug-ins, for editors that complete and check TOML.

With Taplo (the TOML extension of VS Code and others): asyncemu schema > vm.schema.json, and in the first line of
vm.toml: #:schema ./vm.schema.json
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this command takes: nothing."""


def command(options: argparse.Namespace) -> int:
    """Print it."""
    import json

    from asyncemu.config.schema import vm_schema
    from asyncemu.plugins import load_all

    load_all()
    print(json.dumps(vm_schema(), indent=2))
    return 0
