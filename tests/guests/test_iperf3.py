# SPDX-License-Identifier: GPL-2.0-or-later
"""The iperf3 archive, with Debian replaced."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from guests import apt, cache, fetch, iperf3
from guests.errors import FetchError
from guests.sources import Source


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache whose guest is of forky, and a tree that stands for the packages."""
    tree = tmp_path / "tree"
    libraries = tree / "usr/lib/riscv64-linux-gnu"
    libraries.mkdir(parents=True)
    (tree / "usr/bin").mkdir()
    (tree / "usr/bin/iperf3").write_bytes(b"the program")
    (libraries / "libiperf.so.0.0.0").write_bytes(b"the library")
    (libraries / "libiperf.so.0").symlink_to("libiperf.so.0.0.0")
    root = tmp_path / "cache"
    (root / "riscv64").mkdir(parents=True)
    monkeypatch.setattr(fetch, "cache_root", lambda: root)
    monkeypatch.setattr(fetch, "ensure", lambda root: None)
    manifest = cache.Manifest("forky", {}, "", {}, True, "", "", {})
    monkeypatch.setattr(cache, "load", lambda directory: manifest)
    monkeypatch.setattr(iperf3, "debian_mirrors", lambda sources: [Source("http://deb.test", ("forky",), ("main",))])
    monkeypatch.setattr(apt, "PrivateApt", lambda *arguments: arguments[2])
    monkeypatch.setattr(iperf3, "_fetch", lambda work, client: tree)
    return root


def test_ensure_packs_the_program_and_its_libraries_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = iperf3.ensure()
    content = gzip.decompress(archive.read_bytes())
    monkeypatch.delattr(iperf3, "_fetch")

    assert iperf3.ensure() == archive
    assert b"the program" in content
    assert b"the library" in content
    assert b"lib/riscv64-linux-gnu/libiperf.so.0\0" in content
    assert b"lib/ld-linux-riscv64-lp64d.so.1\0" in content


def test_ensure_without_a_mirror_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iperf3, "debian_mirrors", lambda sources: [])

    with pytest.raises(FetchError, match="no mirror to fetch iperf3 from"):
        iperf3.ensure()
