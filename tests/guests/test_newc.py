"""The cpio writer, against a reader of its own and against the system's cpio where there is one."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guests import newc

HEADER = 110  # bytes: a magic of 6 and 13 fields of 8 digits

names = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=20)
paths = st.lists(names, min_size=1, max_size=4).map("/".join).filter(lambda path: path != "TRAILER!!!")
permissions = st.integers(0, 0o7777)
numbers = st.integers(0, 0xFFFF_FFFF)
entries = st.one_of(
    st.builds(newc.directory, paths, permissions),
    st.builds(newc.file, paths, st.binary(max_size=300), permissions),
    st.builds(newc.symlink, paths, names),
    st.builds(newc.char_device, paths, numbers, numbers, permissions),
)


def read(archive: bytes) -> list[tuple[list[int], str, bytes]]:
    """Fields, name and data of each member, the trailer with them."""
    members: list[tuple[list[int], str, bytes]] = []
    position = 0
    while position < len(archive):
        assert archive[position : position + 6] == b"070701"
        digits = archive[position + 6 : position + HEADER]
        fields = [int(digits[start : start + 8], 16) for start in range(0, 104, 8)]
        name = archive[position + HEADER : position + HEADER + fields[11]]
        position += HEADER + fields[11]
        position += -position % 4
        data = archive[position : position + fields[6]]
        position += fields[6]
        position += -position % 4
        assert name.endswith(b"\0")
        members.append((fields, name[:-1].decode(), data))
    return members


@given(st.lists(entries, max_size=6))
def test_pack_any_entries_reads_back(written: list[newc.Entry]) -> None:
    *members, trailer = read(newc.pack(written))

    assert trailer[1] == "TRAILER!!!"
    assert [newc.Entry(name, fields[1], data, (fields[9], fields[10])) for fields, name, data in members] == written


def test_pack_several_entries_have_inodes_of_their_own() -> None:
    archive = newc.pack([newc.file("a", b""), newc.file("b", b"")])

    assert [fields[0] for fields, _, _ in read(archive)] == [1, 2, 0]


def test_pack_same_entries_gives_same_bytes() -> None:
    tree = [newc.directory("bin"), newc.file("bin/x", b"data")]

    assert newc.pack(tree) == newc.pack(tree)


@pytest.mark.parametrize("path", ["", "/etc", "a\0b", "TRAILER!!!", "x" * 4096])
def test_entry_bad_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        newc.file(path, b"")


def test_entry_device_number_past_32_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bits"):
        newc.char_device("dev/null", 1 << 32, 0)


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_pack_system_cpio_extracts_the_tree(tmp_path: Path) -> None:
    archive = newc.pack(
        [newc.directory("bin"), newc.file("bin/tool", b"x" * 4097, 0o755), newc.symlink("bin/link", "tool")]
    )

    subprocess.run(["cpio", "-i", "--quiet"], input=archive, cwd=tmp_path, check=True)

    assert (tmp_path / "bin/tool").read_bytes() == b"x" * 4097
    assert stat.S_IMODE((tmp_path / "bin/tool").stat().st_mode) == 0o755
    assert (tmp_path / "bin/link").readlink() == Path("tool")
