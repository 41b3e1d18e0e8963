# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m fuzz run NAME``: give a target inputs that atheris grows by coverage, until one makes it fail.

    python -m fuzz list
    python -m fuzz run NAME [--seconds N] [--seed N] [--corpus FOLDER] [-- libfuzzer arguments]
    python -m fuzz replay NAME FILE ...        without atheris: under a debugger, or to see a defect gone

The corpus is in a folder that goes with the run, unless one is named; inputs that fail are written to the working
directory, or where ``-- -artifact_prefix=...`` says.
Exit status: 0 nothing was found, 1 an input fails, 2 it could not be run, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# Before asyncemu is imported: calls from the wrong thread are defects.
os.environ.setdefault("ASYNCEMU_DEBUG", "1")

from fuzz.memory_limit import limit_memory
from fuzz.running import run
from fuzz.targets import NAMES, load

FINE: Final = 0
FAILS: Final = 1
NOT_RUN: Final = 2
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # argparse would take what is behind "--" for a file.
    at = words.index("--") if "--" in words else len(words)
    options = _make_parser().parse_args(words[:at])
    try:
        if options.command == "list":
            for name in NAMES:
                print(f"{name}: {load(name).summary}")
            return FINE
        if options.command == "replay":
            return replay(options.name, options.files)
        return run(options.name, options.seconds, options.seed, options.corpus, words[at + 1 :])
    except OSError as error:
        print(f"fuzz: {error.filename}: {error.strerror}", file=sys.stderr)
        return NOT_RUN
    except KeyboardInterrupt:
        return INTERRUPTED


def replay(name: str, files: Sequence[Path]) -> int:
    """Give the target each of ``files``, and show the tracebacks."""
    limit_memory()
    fuzz_one = load(name).fuzz_one
    failed = 0
    for file in files:
        data = file.read_bytes()
        try:
            fuzz_one(data)
        except Exception:
            failed += 1
            print(f"{file}: fails", file=sys.stderr)
            traceback.print_exc()
        else:
            print(f"{file}: fine")
    return FAILS if failed else FINE


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fuzz", description="Give asyncemu hostile input.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name every target")
    run = commands.add_parser("run", help="look for inputs that fail, with atheris", epilog="-- libFuzzer's arguments")
    run.add_argument("name", choices=NAMES, metavar="NAME", help=f"of: {', '.join(NAMES)}")
    run.add_argument("--seconds", type=_number, default=0, metavar="N", help="end after N seconds; 0: never")
    run.add_argument("--seed", type=_number, default=0, metavar="N", help="of the random numbers; 0: another each time")
    run.add_argument("--corpus", type=Path, metavar="FOLDER", help="keep the inputs there, and begin with them")
    replay = commands.add_parser("replay", help="give a target an input again, without atheris")
    replay.add_argument("name", choices=NAMES, metavar="NAME", help="the target")
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE", help="an input: crash-...")
    return parser


def _number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
