# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line run within the test's process; what it does to the process is undone."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from asyncemu.cli import main
from asyncemu.plugins import Plugin, load_all

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of the program came to."""

    status: int
    output: str
    errors: str


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """What the program leaves ignored when it ends is not left to later tests, and to the programs that they start."""
    handlers = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, handlers, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def asyncemu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Result]]:
    """``asyncemu("check", "vm.toml")`` runs the program in ``tmp_path``."""
    log_handlers = list(logging.root.handlers)
    interval = sys.getswitchinterval()
    monkeypatch.chdir(tmp_path)
    # Without the plug-ins of other tests, which messages and lists would name.
    load_all()
    ours = {
        kind: {name: plugin for name, plugin in plugins.items() if plugin.__module__.startswith("asyncemu.")}
        for kind, plugins in Plugin.registry.items()
    }
    monkeypatch.setattr(Plugin, "registry", ours)

    def run(*arguments: str) -> Result:
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        output, errors = capsys.readouterr()
        return Result(status, output, errors)

    yield run
    logging.root.handlers[:] = log_handlers
    logging.getLogger("asyncemu.chardev").setLevel(logging.NOTSET)
    sys.setswitchinterval(interval)
    gc.unfreeze()


@pytest.fixture
def vm(tmp_path: Path) -> Callable[[str], None]:
    """``vm(text)`` writes a vm.toml into ``tmp_path``."""

    def write(text: str) -> None:
        (tmp_path / "vm.toml").write_text(text)

    return write
