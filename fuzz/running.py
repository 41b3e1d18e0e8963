# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a target under atheris, in a process of its own: libFuzzer ends the process that it runs in.

``python -m fuzz.running NAME CORPUS ARGUMENT ...`` is that process; ``run`` starts it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fuzz.memory_limit import limit_memory
from fuzz.targets import load

#: A single input that takes longer, in seconds, is a defect. Instrumented code on a busy machine is slow.
_TIMEOUT: Final = 120
#: Bytes of an input: a little more than the largest of seed_images.py.
_LONGEST: Final = 512 << 10


def run(name: str, seconds: int, seed: int, corpus: Path | None, arguments: Sequence[str]) -> int:
    """Fuzz until an input fails, or ``seconds`` are over (0: never).

    0: nothing was found; 1: something was; 2: atheris is not there.
    ``arguments`` go to libFuzzer. OSError: the corpus folder can't be made.
    """
    if importlib.util.find_spec("atheris") is None:
        print("fuzz: atheris is not installed; it is one of asyncemu[dev], for CPython up to 3.13", file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        if corpus is None:
            corpus = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-")))
        corpus.mkdir(parents=True, exist_ok=True)
        defaults = [f"-timeout={_TIMEOUT}", f"-max_len={_LONGEST}", f"-max_total_time={seconds}", f"-seed={seed}"]
        environment = {**os.environ, "ASYNCEMU_DEBUG": os.environ.get("ASYNCEMU_DEBUG", "1")}
        command = [sys.executable, "-m", __spec__.name, name, str(corpus), *defaults, *arguments]
        return 1 if subprocess.run(command, env=environment, check=False).returncode else 0


def _main(name: str, corpus: str, *arguments: str) -> None:
    """Does not return."""
    import atheris

    limit_memory()
    # Modules that are imported by a request, too: the whole of the run is in it.
    with atheris.instrument_imports(include=["asyncemu"]):
        target = load(name)
        for number, data in enumerate(target.seeds()):
            (Path(corpus) / f"seed-{number:03d}").write_bytes(data)
        atheris.Setup([sys.argv[0], *arguments, corpus], target.fuzz_one)
        atheris.Fuzz()


if __name__ == "__main__":
    _main(*sys.argv[1:])
