# SPDX-License-Identifier: GPL-2.0-or-later
"""Each feature, written by one side and read by the other; docs/block-compat.md says what these tests found.

The reader checks the image, compares it with what a raw file holds after the same commands, and shows the feature.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.block.compat.features import FEATURES, SIZE, Feature
from tests.block.compat.sides import Ours, Qemu, Side

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[3] / "docs" / "block-compat.md"


def reference(feature: Feature, path: Path) -> None:
    """A raw file with what must be in the image; QEMU writes it."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "raw", str(path), str(SIZE)], check=True)
    commands = [word for line in (*feature.base, *feature.workload, *feature.reference) for word in ("-c", plain(line))]
    subprocess.run(["qemu-io", "-f", "raw", *commands, str(path)], check=True, stdout=subprocess.DEVNULL)


def plain(line: str) -> str:
    """A raw file compresses nothing."""
    return line.replace("write -c ", "write ")


def write(side: Side, feature: Feature, files: dict[str, Path]) -> None:
    names: dict[str, Any] = {name: str(path) for name, path in files.items()}
    for tool, arguments in feature.before:
        side.run(tool, arguments.format(**names))
    options = f"-o {feature.options.format(**names)}" if feature.options else ""
    side.run("img", f"create -f qcow2 {options} {files['image']} {SIZE}")
    commands = " ".join(f"-c '{line}'" for line in feature.workload)
    side.run("io", f"-f qcow2 {commands} {files['image']}")
    for tool, arguments in feature.after:
        side.run(tool, arguments.format(**names))


def read(side: Side, feature: Feature, files: dict[str, Path], expected: Path) -> None:
    image = files["image"]
    assert "No errors were found on the image." in side.run("img", f"check -f qcow2 {image}")
    assert "Images are identical." in side.run("img", f"compare -f qcow2 -F raw {image} {expected}")
    told = side.run("img", f"info -f qcow2 {image}")
    for line in feature.shows:
        assert line in told


@pytest.mark.parametrize(("writer", "reader"), [(Ours(), Qemu()), (Qemu(), Ours())], ids=["ours-qemu", "qemu-ours"])
@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_image_of_one_side_is_whole_to_the_other(tmp_path: Path, feature: Feature, writer: Side, reader: Side) -> None:
    files = {name: tmp_path / name for name in ("image", "base", "data")}
    expected = tmp_path / "expected"
    reference(feature, expected)

    write(writer, feature, files)

    read(reader, feature, files, expected)


def test_page_lists_every_feature() -> None:
    listed = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert [name for name in listed if name in {feature.name for feature in FEATURES}] == [
        feature.name for feature in FEATURES
    ]
