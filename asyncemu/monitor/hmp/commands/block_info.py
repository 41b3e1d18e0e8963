# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is to know of disks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from asyncemu.block.image_text import image_text, snapshot_lines
from asyncemu.monitor.hmp.arguments import BlockName, Flag
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command

_RATES: Final = (
    *("bps", "bps_rd", "bps_wr", "bps_max", "bps_rd_max"),
    *("bps_wr_max", "iops", "iops_rd", "iops_wr", "iops_max"),
    *("iops_rd_max", "iops_wr_max", "iops_size"),
)
_COUNTERS: Final = (
    *("rd_bytes", "wr_bytes", "rd_operations", "wr_operations", "flush_operations"),
    *("wr_total_time_ns", "rd_total_time_ns", "flush_total_time_ns", "rd_merged", "wr_merged"),
    "idle_time_ns",
)


@hmp_command(
    "info block",
    "[-n] [-v] [device]",
    "show info of one block device or all block devices (-n: show named nodes; -v: show details)",
)
async def info_block(
    session: Session,
    nodes: Annotated[bool, Flag("n")] = False,
    verbose: Annotated[bool, Flag("v")] = False,
    device: BlockName | None = None,
) -> None:
    """QMP: query-block, query-named-block-nodes."""
    texts = []
    if not nodes:
        for disk in await session.qmp("query-block"):
            if device is None or device in (disk["device"], disk.get("qdev")):
                texts.append(_disk_text(disk, disk.get("inserted"), verbose))
    if nodes or (device is not None and not texts):
        for node in await session.qmp("query-named-block-nodes"):
            if device is None or device == node.get("node-name"):
                texts.append(_disk_text(None, node, verbose))
    session.print("\n".join(texts))


def _disk_text(disk: Mapping[str, Any] | None, node: Mapping[str, Any] | None, verbose: bool) -> str:
    return "".join(line + "\n" for line in _disk_lines(disk or {}, node, verbose))


def _disk_lines(disk: Mapping[str, Any], node: Mapping[str, Any] | None, verbose: bool) -> Iterator[str]:
    name = disk.get("device")
    node_name = (node or {}).get("node-name")
    called = f"{name} ({node_name})" if name and node_name else name or node_name or disk.get("qdev") or "<anonymous>"
    if node is None:
        yield f"{called}: [not inserted]"
    else:
        more = (", read-only" if node["ro"] else "") + (", encrypted" if node["encrypted"] else "")
        yield f"{called}: {node['file']} ({node['drv']}{more})"
    if "qdev" in disk:
        yield f"    Attached to:      {disk['qdev']}"
    if disk.get("io-status", "ok") != "ok":
        yield f"    I/O status:       {disk['io-status']}"
    if node is None:
        return
    cache = node["cache"]
    mode = "writeback" if cache["writeback"] else "writethrough"
    yield f"    Cache mode:       {mode}{', direct' * cache['direct']}{', ignore flushes' * cache['no-flush']}"
    if "backing_file" in node:
        yield f"    Backing file:     {node['backing_file']} (chain depth: {node['backing_file_depth']})"
    if node["detect_zeroes"] != "off":
        yield f"    Detect zeroes:    {node['detect_zeroes']}"
    if any(node.get(key) for key in ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")):
        rates = " ".join(f"{key}={node.get(key, 0)}" for key in _RATES)
        yield f"    I/O throttling:   {rates} group={node.get('group', '')}"
    if verbose:
        yield ""
        yield "Images:"
        yield from _images(node["image"])


def _images(image: Mapping[str, Any] | None) -> Iterator[str]:
    while image is not None:
        yield image_text(image).removesuffix("\n")
        image = image.get("backing-image")


@hmp_command("info blockstats", "", "show block device statistics")
async def info_blockstats(session: Session) -> None:
    """QMP: query-blockstats."""
    for each in await session.qmp("query-blockstats"):
        counters = " ".join(f"{key}={each['stats'].get(key, 0)}" for key in _COUNTERS)
        session.print(f"{each.get('device') or each.get('qdev', '')}: {counters}\n")


@hmp_command("info block-jobs", "", "show progress of ongoing block device operations")
async def info_block_jobs(session: Session) -> None:
    """No operation of ours is a job."""
    session.print("No active jobs\n")


@hmp_command("info snapshots", "", "show the currently saved VM snapshots")
async def info_snapshots(session: Session) -> None:
    """Those that all disks have, by name; and those of a disk that others lack."""
    disks = [
        (disk["inserted"].get("node-name", ""), disk["inserted"]["image"].get("snapshots", []))
        for disk in await session.qmp("query-block")
        if "inserted" in disk and disk["inserted"]["image"]["format"] == "qcow2" and not disk["inserted"]["ro"]
    ]
    if not disks:
        session.print("no block device can store vmstate for snapshot\n")
        return
    shared = set.intersection(*({each["name"] for each in snapshots} for _, snapshots in disks))
    if not any(snapshots for _, snapshots in disks):
        session.print("There is no snapshot available.\n")
        return
    session.print("List of snapshots present on all disks:\n")
    if shared:
        # The number is each disk's own.
        rows = [{**each, "id": "--"} for each in disks[0][1] if each["name"] in shared]
        session.print("\n".join(snapshot_lines(rows)) + "\n")
    else:
        session.print("None\n")
    for node_name, snapshots in disks:
        partial = [each for each in snapshots if each["name"] not in shared]
        if partial:
            session.print(f"\nList of partial (non-loadable) snapshots on '{node_name}':\n")
            session.print("\n".join(snapshot_lines(partial)) + "\n")
