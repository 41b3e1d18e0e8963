# SPDX-License-Identifier: GPL-2.0-or-later
"""Summarize a trace that asyncemu run --trace wrote: what took how long, and who held a loop up.

total is a span's length, self what is left of it without the spans within it. https://ui.perfetto.dev shows the same
file on a time line.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

#: Rows of each table.
DEFAULT_TOP: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this command takes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a trace (.pftrace, or .pftrace.gz)")
    parser.add_argument(
        "--top", type=_number, default=DEFAULT_TOP, metavar="N", help=f"rows of each table (default {DEFAULT_TOP})"
    )


def command(options: argparse.Namespace) -> int:
    """Print the summary. Raises ConfigError and ProtocolError."""
    from asyncemu.tracing.perfetto_reader import read
    from asyncemu.tracing.summary import summarize
    from asyncemu.tracing.summary_text import render

    lines = render(summarize(read(options.file), options.top), options.top)
    text = "\n".join(lines)
    # A terminal that can't show the bars of histograms shows question marks.
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding))
    return 0


def _number(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
