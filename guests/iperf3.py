"""Debian's riscv64 iperf3 as a second initramfs: appended to the guest's, it is unpacked over it.

It is apart from the guest because it is a few MiB with its libraries, and only one test wants it.
"""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path
from typing import Final

from guests import apt, cache, fetch, newc
from guests.errors import FetchError
from guests.sources import debian_mirrors, machine_sources

_PACKAGE: Final = "iperf3"
_NAME: Final = "iperf3.cpio.gz"
_LOADER: Final = "ld-linux-riscv64-lp64d.so.1"  # RISC-V ELF psABI, "Program interpreter"
_LIBRARIES: Final = "lib/riscv64-linux-gnu"


def ensure() -> Path:
    """The archive, which is fetched when it is not there; raises FetchError. Safe to call from several processes."""
    root = fetch.cache_root()
    archive = root / f"{fetch.ARCHITECTURE}-{_NAME}"
    if archive.is_file():
        return archive
    fetch.ensure(root)
    manifest = cache.load(root / fetch.ARCHITECTURE)
    mirrors = debian_mirrors(machine_sources())
    if manifest is None or not mirrors:
        raise FetchError(f"no mirror to fetch {_PACKAGE} from")
    try:
        with cache.locked(root), cache.stage(root) as work:
            if not archive.is_file():
                extracted = _fetch(work, apt.PrivateApt(work / "apt", mirrors[0], manifest.suite, fetch.ARCHITECTURE))
                staged = work / _NAME
                staged.write_bytes(_pack(extracted))
                staged.replace(archive)
    except OSError as error:
        raise FetchError(f"{error.filename or root}: {error.strerror}") from error
    return archive


def _fetch(work: Path, client: apt.PrivateApt) -> Path:
    client.update()
    downloads, extracted = work / "debs", work / "root"
    downloads.mkdir()
    for package in client.download(apt.with_libraries(_PACKAGE, client.show), downloads):
        done = subprocess.run([apt.tool("dpkg-deb"), "-x", package, extracted], capture_output=True, text=True)
        if done.returncode != 0:
            raise FetchError(f"dpkg-deb cannot extract {package.name}: {done.stderr.strip()}")
    return extracted


def _pack(extracted: Path) -> bytes:
    entries = [newc.directory(name) for name in ("bin", "lib", _LIBRARIES)]
    entries.append(newc.file("bin/iperf3", (extracted / "usr/bin/iperf3").read_bytes(), 0o755))
    entries.append(newc.symlink(f"lib/{_LOADER}", f"/{_LIBRARIES}/{_LOADER}"))
    for path in sorted(extracted.glob(f"usr/{_LIBRARIES}/*.so*")):
        name = f"{_LIBRARIES}/{path.name}"
        entries.append(
            newc.symlink(name, str(path.readlink())) if path.is_symlink() else newc.file(name, path.read_bytes(), 0o755)
        )
    return gzip.compress(newc.pack(entries), mtime=0)
