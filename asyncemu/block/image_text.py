# SPDX-License-Identifier: GPL-2.0-or-later
"""What people are shown of an image: ``img info``, ``img snapshot -l``, the monitor's ``info block -v``.

QEMU: bdrv_image_info_dump, bdrv_snapshot_dump.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from asyncemu.block.naming.json_writer import in_qemus_order
from asyncemu.size import human_size


def image_text(info: Mapping[str, Any]) -> str:
    """The lines of one image; ``info`` is QMP's ImageInfo."""
    size = info["virtual-size"]
    disk_size = human_size(info["actual-size"]) if "actual-size" in info else "unavailable"
    lines = [
        f"image: {info['filename']}",
        f"file format: {info['format']}",
        f"virtual size: {human_size(size)} ({size} bytes)",
        f"disk size: {disk_size}",
    ]
    if "encrypted" in info:
        lines.append("encrypted: yes")
    if "cluster-size" in info:
        lines.append(f"cluster_size: {info['cluster-size']}")
    if info.get("dirty-flag"):
        lines.append("cleanly shut down: no")
    if "backing-filename" in info:
        lines.append(f"backing file: {info['backing-filename']}{_actual_path(info)}")
        if "backing-filename-format" in info:
            lines.append(f"backing file format: {info['backing-filename-format']}")
    if "snapshots" in info:
        lines += ["Snapshot list:", *snapshot_lines(info["snapshots"])]
    if "format-specific" in info:
        lines += ["Format specific information:", *table_lines(info["format-specific"]["data"], 1)]
    return "\n".join(lines) + "\n"


def snapshot_lines(snapshots: Sequence[Mapping[str, Any]]) -> list[str]:
    """A heading, and a line for each of QMP's SnapshotInfo."""
    lines = [f"{'ID':<10}{'TAG':<17}{'VM SIZE':>8}{'DATE':>20}{'VM CLOCK':>13}{'ICOUNT':>11}"]
    for each in snapshots:
        seconds = each["vm-clock-sec"]
        clock = (
            f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{each['vm-clock-nsec'] // 1_000_000:03}"
        )
        lines.append(
            f"{each['id']:<9} {each['name']:<16} {human_size(each['vm-state-size']):>8}"
            f"{_date(each['date-sec']):>20}{clock:>13}{each.get('icount', ''):>11}"
        )
    return lines


def _date(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return ""  # the image says a time that no calendar has


def _actual_path(info: Mapping[str, Any]) -> str:
    if "full-backing-filename" not in info:
        return " (cannot determine actual path)"
    if info["full-backing-filename"] == info["backing-filename"]:
        return ""
    return f" (actual path: {info['full-backing-filename']})"


def table_lines(table: Mapping[str, Any], level: int) -> list[str]:
    """The members of a table of QMP's, indented by ``level`` steps. QEMU: dump_qdict."""
    lines = []
    for key, value in in_qemus_order(table):
        lines += _value_lines(key.replace("-", " "), value, level)
    return lines


def _value_lines(label: str, value: Any, level: int) -> list[str]:
    start = f"{' ' * (level * 4)}{label}:"
    match value:
        case Mapping():
            return [start, *table_lines(value, level + 1)]
        case Sequence() if not isinstance(value, str):
            inner = [line for at, each in enumerate(value) for line in _value_lines(f"[{at}]", each, level + 1)]
            return [start, *inner]
        case bool():
            return [f"{start} {'true' if value else 'false'}"]
        case _:
            return [f"{start} {value}"]
