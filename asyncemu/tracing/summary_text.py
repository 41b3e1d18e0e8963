# SPDX-License-Identifier: GPL-2.0-or-later
"""A summary as lines of plain text, aligned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from asyncemu.tracing.categories import POLL, VCPU
from asyncemu.tracing.summary import Group, Hold, Summary, TrackSummary

#: Characters of a name that are shown: with more a row is longer than a wide terminal (arbitrary).
MAX_NAME: Final = 40
MAX_SENTENCE: Final = 160

#: Rows of histograms: nothing, and how much of the row's highest column.
_LEVELS: Final = " ▁▂▃▄▅▆▇█"

_UNITS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))


def render(summary: Summary, top: int) -> list[str]:
    """``summary`` as lines, with up to ``top`` rows a table."""
    events = sum(track.events for track in summary.tracks)
    lines = [
        f"{duration_text(summary.length_ns)}, {_counted(events, 'event')} of {_counted(len(summary.tracks), 'thread')}"
    ]
    for track in summary.tracks:
        lines += ["", *_track(track, top)]
    if summary.holds:
        lines += ["", "longest callbacks of loops", *_holds(summary.holds)]
    return lines


def duration_text(ns: int) -> str:
    """Three digits and a unit: "999 ns", "1.23 µs", "45.6 ms", "120 s"."""
    for size, unit in _UNITS:
        # What would be rounded to 1000 of a smaller unit is one of this.
        if ns * 2000 >= size * 1999:
            value = ns / size
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return f"{ns} ns"


def _track(track: TrackSummary, top: int) -> Iterator[str]:
    facts = [_counted(track.events, "event")]
    if track.dropped:
        facts.append(f"{track.dropped:,} older ones dropped")
    facts.append(f"busy {_share(track.busy_ns, track)}")
    if track.kind == "vCPU":
        facts += [f"{category} {_share(track.categories[category], track)}" for category in VCPU]
    elif track.categories[POLL]:
        facts.append(f"polling {_share(track.categories[POLL], track)}")
    kind = f" ({track.kind})" if track.kind else ""
    yield f"{_shown(track.name)}{kind}: {', '.join(facts)}"
    shown = track.groups[:top]
    if shown:
        lowest = min(group.durations[0].bit_length() for group in shown)
        highest = max(group.max_ns.bit_length() for group in shown)
        scale = f"from {duration_text(1 << lowest >> 1)}, doubling"
        header = ["category", "name", "count", "total", "self", "mean", "p50", "p99", "max", scale]
        rows = [_row(group, range(lowest, highest + 1)) for group in shown]
        yield from _table([header, *rows], left=(0, 1, 9))
    left_out = track.groups[top:]
    if left_out:
        yield f"  and {len(left_out)} more: {duration_text(sum(group.self_ns for group in left_out))} of self time"
    # Their names may be sentences.
    instants = [
        [f"{count:,}", _shown(category), _shown(name, MAX_SENTENCE)]
        for (category, name), count in track.instants.most_common(top)
    ]
    if instants:
        yield from _table([["count", "category", "instant"], *instants], left=(1, 2))


def _row(group: Group, buckets: range) -> list[str]:
    times = (group.total_ns, group.self_ns, group.mean_ns, group.percentile(50), group.percentile(99), group.max_ns)
    counts = group.histogram()
    highest = max(counts.values())
    # Rounded up: a single one among thousands is seen.
    bars = "".join(_LEVELS[-(-counts[bucket] * (len(_LEVELS) - 1) // highest)] for bucket in buckets)
    return [_shown(group.category), _shown(group.name), f"{group.count:,}", *map(duration_text, times), bars]


def _holds(holds: Sequence[Hold]) -> Iterator[str]:
    rows = [["loop", "at", "length", "caused by"]]
    for hold in holds:
        first, *inner = hold.blame.chain()
        causes = [f"{_shown(first.category)} {_shown(first.name)}"]
        # Chains may be long where each step of a coroutine calls the next.
        if inner:
            last = inner[-1]
            causes.append(f"in it {_shown(last.category)} {_shown(last.name)} {duration_text(last.duration_ns)}")
        rows.append(
            [_shown(hold.track), duration_text(hold.at_ns), duration_text(first.duration_ns), ", ".join(causes)]
        )
    yield from _table(rows, left=(0, 3))


def _table(rows: Sequence[Sequence[str]], left: Sequence[int]) -> Iterator[str]:
    """Columns as wide as their widest cell, aligned to the right but for those of ``left``."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"  {'  '.join(cells)}".rstrip()


def _share(part: int, track: TrackSummary) -> str:
    return f"{100 * part / track.length_ns:.1f} %" if track.length_ns else "0.0 %"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _shown(name: str, limit: int = MAX_NAME) -> str:
    """``name`` without what would break the line or steer the terminal, and not too long."""
    if len(name) > limit:
        name = name[: limit - 3] + "..."
    return name if name.isprintable() else ascii(name)[1:-1]
