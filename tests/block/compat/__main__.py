# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m tests.block.compat``: write docs/block-compat.md, from what is found now."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.block.compat.features import FEATURES, Feature
from tests.block.compat.sides import Ours, Qemu, Side
from tests.block.compat.test_compat import PAGE, read, reference, write

_HEAD: Final = """\
# Images of one, read by the other
Each line is a test ([test_image_of_one_side_is_whole_to_the_other](../tests/block/compat/test_compat.py)): one side's
tools make an image, write to it and change it; those of the other side check it, compare it with a raw file that saw
the same commands, and say that the feature is there.
`python -m tests.block.compat` wrote this page, beside {peer}.

| feature | ours writes, QEMU reads | QEMU writes, ours reads |
|---|---|---|
"""


def _outcome(feature: Feature, writer: Side, reader: Side) -> str:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        files = {name: directory / name for name in ("image", "base", "data")}
        try:
            reference(feature, directory / "expected")
            write(writer, feature, files)
            read(reader, feature, files, directory / "expected")
        except AssertionError as error:
            return "no: " + " ".join(str(error).split())[:100].replace("|", "/")
    return "yes"


def main() -> None:
    """Run all, and write the page."""
    version = subprocess.run(["qemu-img", "--version"], capture_output=True, text=True, check=True).stdout
    lines = [_HEAD.format(peer=version.split(" (")[0].replace("version ", ""))]
    for feature in FEATURES:
        outcomes = [_outcome(feature, Ours(), Qemu()), _outcome(feature, Qemu(), Ours())]
        lines.append(f"| {feature.name} | {' | '.join(outcomes)} |\n")
    PAGE.write_text("".join(lines))


if __name__ == "__main__":
    main()
