# SPDX-License-Identifier: GPL-2.0-or-later
"""What is held against QEMU in both directions: a feature is a list of command lines that either side's tools run.

``{image}`` is the image, ``{base}`` another file that a feature may want, ``{data}`` an external data file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Bytes of a disk.
SIZE: Final = 4 << 20

#: What a guest does, in qemu-io's words; the same on each image, and on a raw file that says what must be there.
WORKLOAD: Final = (
    "write -P 0x11 0 64k",
    "write -P 0x22 100k 3000",
    "write -P 0x33 1M 300k",
    "write -P 0x44 1070k 100",
    "write -z 1100k 50k",
    "write -P 0x55 3M 1M",
    "write -z 3200k 128k",
    "write -P 0x66 3210k 1k",
    "flush",
)


@dataclass(frozen=True, slots=True)
class Feature:
    """``make`` are command lines of img; the workload follows, then ``after``."""

    name: str
    #: Options of ``create -f qcow2 -o``.
    options: str = ""
    #: Command lines of img and io, as (tool, arguments), before the image is made.
    before: tuple[tuple[str, str], ...] = ()
    #: The same, behind the workload.
    after: tuple[tuple[str, str], ...] = ()
    #: What ``after`` does to the contents: command lines of io on the raw reference.
    reference: tuple[str, ...] = ()
    #: What the base holds, as commands of io on a raw reference.
    base: tuple[str, ...] = ()
    #: Arguments of io that show that the feature is really there: lines of ``info`` to be found.
    shows: tuple[str, ...] = ()
    workload: tuple[str, ...] = WORKLOAD
    #: ``check`` can't look at it.
    unchecked: bool = False


def _widths() -> list[Feature]:
    return [
        Feature(f"refcount_bits={bits}", f"refcount_bits={bits}", shows=(f"refcount bits: {bits}",))
        for bits in (1, 2, 4, 8, 16, 32, 64)
    ]


def _clusters() -> list[Feature]:
    return [
        Feature(f"cluster_size={size}", f"cluster_size={size}", shows=(f"cluster_size: {size}",))
        for size in (512, 4096, 65536, 2097152)
    ]


_BASE: Final = ("write -P 0x77 0 2M", "write -P 0x78 2M 2M")

FEATURES: Final = (
    Feature("version 2", "compat=0.10", shows=("compat: 0.10",)),
    Feature("version 3", "compat=1.1", shows=("compat: 1.1",)),
    *_clusters(),
    *_widths(),
    Feature("lazy refcounts", "lazy_refcounts=on", shows=("lazy refcounts: true",)),
    Feature("extended L2", "extended_l2=on,cluster_size=128k", shows=("extended l2: true",)),
    *(
        Feature(f"preallocation={mode}", f"preallocation={mode}", workload=(f"write -z 0 {SIZE}", *WORKLOAD))
        for mode in ("metadata", "falloc", "full")
    ),
    Feature("external data file", "data_file={data}", shows=("data file raw: false",)),
    Feature("external data file, raw", "data_file={data},data_file_raw=on", shows=("data file raw: true",)),
    Feature(
        "backing file, raw",
        "backing_file={base},backing_fmt=raw",
        before=(("img", f"create -f raw {{base}} {SIZE}"), *(("io", f"-f raw -c '{line}' {{base}}") for line in _BASE)),
        base=_BASE,
        shows=("backing file format: raw",),
    ),
    Feature(
        "backing file, qcow2, shorter",
        "backing_file={base},backing_fmt=qcow2",
        before=(
            ("img", "create -f qcow2 {base} 2500k"),
            ("io", "-f qcow2 -c 'write -P 0x77 0 2500k' {base}"),
        ),
        base=("write -P 0x77 0 2500k",),
        shows=("backing file format: qcow2",),
    ),
    *(
        Feature(
            f"compressed, {name}",
            f"compression_type={name}",
            workload=(
                "write -c -P 0x11 0 64k",
                "write -c -P 0x12 64k 64k",
                "write -P 0x13 80k 4k",
                "write -P 0x14 1M 1M",
            ),
            shows=(f"compression type: {name}",),
        )
        for name in ("zlib", "zstd")
    ),
    Feature(
        "discard",
        after=(("io", "-f qcow2 -d unmap -c 'discard 64k 1M' -c 'discard 3M 256k' {image}"),),
        reference=("write -z 64k 1M", "write -z 3M 256k"),
    ),
    Feature(
        "internal snapshots",
        after=(
            ("img", "snapshot -c first {image}"),
            ("io", "-f qcow2 -c 'write -P 0x99 0 2M' {image}"),
            ("img", "snapshot -c second {image}"),
            ("io", "-f qcow2 -c 'write -P 0x9a 1M 2M' {image}"),
            ("img", "snapshot -a second {image}"),
            ("img", "snapshot -d first {image}"),
        ),
        reference=("write -P 0x99 0 2M",),
        shows=("second",),
    ),
    Feature(
        "grown",
        after=(("img", "resize -f qcow2 {image} 6M"), ("io", "-f qcow2 -c 'write -P 0xaa 5M 64k' {image}")),
        reference=("truncate 6M", "write -P 0xaa 5M 64k"),
    ),
    Feature(
        "shrunk",
        after=(("img", "resize -f qcow2 --shrink {image} 2M"),),
        reference=("truncate 2M",),
    ),
    Feature(
        "amended to version 2",
        after=(("img", "amend -f qcow2 -o compat=0.10 {image}"),),
        shows=("compat: 0.10",),
    ),
    Feature(
        "amended to refcount_bits=8",
        after=(("img", "amend -f qcow2 -o refcount_bits=8 {image}"),),
        shows=("refcount bits: 8",),
    ),
)
