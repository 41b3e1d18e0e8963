# SPDX-License-Identifier: GPL-2.0-or-later
"""List device models and back ends, or the options of one, as they are written in vm.toml.

Installed plug-ins (entry points of the group asyncemu.plugins) are listed with the rest.
"""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asyncemu.config.describe import OptionHelp
    from asyncemu.plugins import Plugin

#: Tables of vm.toml and what is in them.
_TABLES: Final = {
    "device": "device models",
    "blockdev": "block drivers",
    "chardev": "character back ends",
    "netdev": "network back ends",
    "netfilter": "filters on the links of netdevs",
}
_MACHINE: Final = "machine"

#: Columns: longer lines are hard to read.
_MAX_WIDTH: Final = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this command takes."""
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="show the options of this one")


def command(options: argparse.Namespace) -> int:
    """Print the list, or what is called ``name``."""
    from asyncemu.plugins import load_all

    load_all()
    lines = _describe(options.name) if options.name else _list()
    print("\n".join(line.rstrip() for line in lines))
    return 0


def _list() -> list[str]:
    from asyncemu.config.describe import one_line

    lines = []
    for kind, title in _TABLES.items():
        rows = [(name, one_line(plugin)) for name, plugin in _plugins(kind)]
        lines += [f"[[{kind}]]: {title}", *_columns(rows), ""]
    lines += [
        "[machine]: the board; its options: asyncemu devices machine",
        "",
        "asyncemu devices NAME: options of one",
    ]
    return lines


def _describe(name: str) -> list[str]:
    from asyncemu.config.describe import one_line, option_helps
    from asyncemu.errors import ConfigError
    from asyncemu.machine import MachineOptions
    from asyncemu.plugin_options import DRIVER_KEY, IDENTITY_KEY
    from asyncemu.spelling import nearest

    lines: list[str] = []
    if name == _MACHINE:
        lines += ["[machine]: the board", "", *_options(list(option_helps(MachineOptions)))]
    for kind in _TABLES:
        for known, plugin in _plugins(kind):
            if known != name:
                continue
            lines += [f'[[{kind}]] {DRIVER_KEY[kind]} = "{name}": {one_line(plugin)}', ""]
            helps = [_identity_help(kind, IDENTITY_KEY[kind]), *option_helps(plugin.options_type)]
            lines += [*_options(helps), ""]
            lines += _where_from(plugin)
    if not lines:
        known_names = [_MACHINE, *(each for kind in _TABLES for each, _ in _plugins(kind))]
        raise ConfigError("command line", f"nothing is called {name!r}", nearest(name, sorted(set(known_names))))
    return lines[:-1] if not lines[-1] else lines


def _identity_help(kind: str, key: str) -> OptionHelp:
    from asyncemu.config.describe import OptionHelp

    if kind == "device":
        return OptionHelp(key, "text", "", "Its name; one is made up where not given.")
    return OptionHelp(key, "text", "required", "Its name, by which others refer to it.")


def _where_from(plugin: type[Plugin[Any]]) -> list[str]:
    return [] if plugin.__module__.startswith("asyncemu.") else [f"From {plugin.__module__}.{plugin.__qualname__}.", ""]


def _plugins(kind: str) -> list[tuple[str, type[Plugin[Any]]]]:
    from asyncemu.plugins import Plugin

    return sorted(Plugin.registry.get(kind, {}).items())


def _options(helps: Sequence[OptionHelp]) -> list[str]:
    return _columns([(each.key, _option_text(each)) for each in helps])


def _option_text(option: OptionHelp) -> str:
    facts = [option.type]
    if option.default:
        facts.append("required" if option.default == "required" else f"default {option.default}")
    return f"{option.help} ({'; '.join(facts)})".lstrip()


def _columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Names and what there is to say about them, wrapped."""
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
    column = max((len(name) for name, _ in rows), default=0) + 4
    lines: list[str] = []
    for name, text in rows:
        start = f"  {name:<{column - 2}}"
        # A terminal that is very narrow breaks the lines itself.
        wrapped = textwrap.wrap(
            text, max(width, column + 30), initial_indent=start, subsequent_indent=" " * column, break_on_hyphens=False
        )
        lines += wrapped or [start]
    return lines
