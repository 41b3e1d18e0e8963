# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-dump: what tshark reads of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from asyncemu.errors import NetError
from asyncemu.net.filters import dump as module
from asyncemu.net.filters.dump import Dump, DumpOptions
from asyncemu.net.tcp.segment import ACK, SYN, Segment
from asyncemu.testing import until
from tests.net.filters.conftest import US, Link
from tests.net.frames import GUEST, HOST, numbered, tcp_frame


async def closed(link: Link) -> None:
    """All is in the file."""
    for netfilter in link.filters:
        await netfilter.close()


def frames_in(file: Path) -> list[bytes]:
    """All frames of a pcap file, by another reader."""
    import dpkt

    with file.open("rb") as opened:
        return [frame for _, frame in dpkt.pcap.Reader(opened)]


async def test_tshark_reads_both_directions_and_times(link: Link, tmp_path: Path) -> None:
    file = tmp_path / "net.pcap"
    await link.add(Dump, file=str(file))

    link.netdev.feed(tcp_frame(Segment(100, 0, SYN, 1000), b"", (1000, 80)))
    link.time.advance(1_500_000 * US)
    link.guest.feed(tcp_frame(Segment(7, 101, SYN | ACK, 1000), b"", (80, 1000), GUEST, HOST))
    await closed(link)

    fields = ("frame.time_delta", "ip.src", "tcp.srcport", "tcp.seq_raw", "tcp.checksum.status", "frame.len")
    output = subprocess.run(
        ["tshark", "-n", "-r", file, "-o", "tcp.check_checksum:TRUE", "-T", "fields", *_each("-e", fields)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert [line.split("\t") for line in output.splitlines()] == [
        ["0.000000000", "10.0.2.2", "1000", "100", "1", "54"],
        ["1.500000000", "10.0.2.15", "80", "7", "1", "54"],
    ]


def _each(flag: str, values: tuple[str, ...]) -> list[str]:
    return [argument for value in values for argument in (flag, value)]


async def test_file_has_what_passed_in_its_order(link: Link, tmp_path: Path) -> None:
    file = tmp_path / "net.pcap"
    await link.add(Dump, file=str(file))
    frames = [numbered(number, 60 + number) for number in range(300)]

    for frame in frames:
        link.netdev.feed(frame)
    await closed(link)

    assert frames_in(file) == link.guest.frames == frames


async def test_maxlen_cuts_frames_in_the_file_only(link: Link, tmp_path: Path) -> None:
    file = tmp_path / "net.pcap"
    await link.add(Dump, file=str(file), maxlen=20)

    link.netdev.feed(numbered(1, 100))
    await closed(link)

    assert frames_in(file) == [numbered(1, 20)]
    assert link.guest.frames == [numbered(1, 100)]


@pytest.mark.parametrize(("queue", "number"), [("tx", 1), ("rx", 2)])
async def test_queue_is_what_is_looked_at(link: Link, tmp_path: Path, queue: str, number: int) -> None:
    file = tmp_path / "net.pcap"
    await link.add(Dump, file=str(file), queue=queue)

    link.netdev.feed(numbered(1))
    link.guest.feed(numbered(2))
    await closed(link)

    assert frames_in(file) == [numbered(number)]


async def test_frame_that_is_not_taken_is_there_once(link: Link, tmp_path: Path) -> None:
    file = tmp_path / "net.pcap"
    await link.add(Dump, file=str(file))
    link.guest.room = 1
    link.netdev.feed(numbered(1), numbered(2), numbered(3))

    link.guest.accept()
    await closed(link)

    assert frames_in(file) == [numbered(1), numbered(2), numbered(3)]


async def test_slow_disk_holds_frames_up_and_loses_none(
    link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    file = tmp_path / "net.pcap"
    await link.add(Dump, file=str(file))
    frames = [numbered(number, 1000) for number in range(50)]

    link.netdev.feed(*frames)
    waiting = len(link.netdev.unsent)
    await until(lambda: not link.netdev.unsent)
    await closed(link)

    assert waiting == 40
    assert frames_in(file) == link.guest.frames == frames


async def test_file_is_begun_anew(link: Link, tmp_path: Path) -> None:
    file = tmp_path / "net.pcap"
    file.write_bytes(b"old" * 1000)
    await link.add(Dump, file=str(file))

    await closed(link)

    assert file.stat().st_size == 24


async def test_fifo_with_a_reader_is_a_file(link: Link, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    await link.add(Dump, file=str(fifo))

    link.netdev.feed(numbered(1))
    await closed(link)

    assert os.read(reader, 200)[40:] == numbered(1)
    os.close(reader)


async def test_disk_that_is_full_ends_the_file_and_not_the_network(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    await link.add(Dump, file="/dev/full")
    await until(lambda: bool(caplog.messages))

    link.netdev.feed(numbered(1))

    assert caplog.messages == ["f0: write /dev/full; it ends here: No space left on device"]
    assert link.guest.frames == [numbered(1)]


@pytest.mark.parametrize(
    ("file", "problem"),
    [("no/such.pcap", "No such file or directory"), ("fifo", "No such device or address")],
)
async def test_file_that_can_t_be_opened_is_an_error(link: Link, tmp_path: Path, file: str, problem: str) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(NetError) as caught:
        await link.add(Dump, file=str(tmp_path / file))

    assert str(caught.value) == f"f0: open {tmp_path / file}: {problem}"


@pytest.mark.parametrize("options", [{}, {"file": "/x", "maxlen": 0}])
def test_options_that_make_no_sense_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"file|maxlen"):
        DumpOptions.model_validate({"netdev": "n", **options})
