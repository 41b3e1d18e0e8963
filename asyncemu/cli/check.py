# SPDX-License-Identifier: GPL-2.0-or-later
"""Say what is wrong with a vm.toml, or what would be built from it.

Reads the files that it names, opens nothing for writing, makes no sockets and starts nothing. (What only opening can
tell, a port in use for example, shows when the machine is run.)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from asyncemu.cli.run import add_config_argument, add_set_argument

if TYPE_CHECKING:
    from asyncemu.config import VmConfig
    from asyncemu.monitor.options import MonitorEntry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this command takes."""
    add_config_argument(parser)
    add_set_argument(parser)


def command(options: argparse.Namespace) -> int:
    """Print the summary. Raises ConfigErrors with all that is wrong."""
    from asyncemu.config import load
    from asyncemu.config.dry_run import dry_run
    from asyncemu.errors import ConfigErrors

    config = load(options.config, options.overrides)
    errors = dry_run(config)
    if errors:
        raise ConfigErrors(errors)
    print(f"{options.config}: ok")
    for title, text in _summary(config):
        print(f"  {title:<9} {text}")
    return 0


def _summary(config: VmConfig) -> Iterator[tuple[str, str]]:
    from asyncemu.plain_options_pydantic import given_options
    from asyncemu.size import size_text

    machine = config.machine
    cpus = f"{machine.smp} vCPU, {' or '.join(machine.accel)}" if not machine.qtest else "no vCPU"
    yield "machine", f"{machine.type}, {size_text(machine.memory)}, {cpus}"
    for key in ("firmware", "kernel", "initrd"):
        if (path := getattr(machine, key)) is not None:
            yield key, str(path)
    if machine.qtest:
        yield "qtest", machine.qtest
    elif machine.firmware is None and machine.kernel is None:
        yield "kernel", "none: the vCPU waits"
    if machine.append:
        yield "append", machine.append
    for name, parameters in config.iothreads.items():
        yield "iothread", f"{name}, poll-max-ns {parameters.poll_max_ns}"
    for name, config_of_group in config.throttle_groups.items():
        limits = [f"{key} {bucket.average}" for key, bucket in config_of_group.limited()]
        yield "throttle", ", ".join([name, *limits])
    for entry in config.monitors:
        speaks = "human" if entry.options.mode == "readline" else "QMP"
        yield "monitor", f"{entry.identity}, {speaks}, {_place(entry)}"
    for kind, parts in (
        ("chardev", config.chardevs),
        ("netdev", config.netdevs),
        ("netfilter", config.netfilters),
        ("blockdev", config.blockdevs),
        ("device", config.devices),
    ):
        for part in parts:
            name = part.plugin.name or part.plugin.__qualname__
            given = given_options(part.options)
            facts = [f"{name} {part.identity}".rstrip(), *(f"{key} {_brief(value)}" for key, value in given.items())]
            yield kind, ", ".join(facts)


def _place(entry: MonitorEntry) -> str:
    if entry.own_chardev is None:
        return f"chardev {entry.options.chardev}"
    options: Any = entry.own_chardev.options
    return f"unix:{options.path}" if options.path is not None else f"{options.host}:{options.port}"


def _brief(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key} {_brief(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(_brief(inner) for inner in value) + "]"
        case _:
            return str(value)
