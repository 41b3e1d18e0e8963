"""Fetch and build the riscv64 guest: `python -m guests.fetch` or `python guests/fetch.py`.

Prints the directory that then holds Image, initrd.cpio.gz, disk.img, busybox and modules/. With a valid cache
nothing is fetched or built. Exit status 2 and one line on standard error when it cannot be done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: the package's parent takes the place of its directory
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from guests import apt, cache, disk, initramfs, programs
from guests.errors import FetchError
from guests.modules import GROUPS, ModuleTree, load_order
from guests.sources import Source, debian_mirrors, machine_sources

ARCHITECTURE = "riscv64"
SUITES = ("trixie", "forky", "sid")  # bookworm has no riscv64; sid is the last resort
_METAPACKAGE = "linux-image-riscv64"
_BUSYBOX = "busybox-static"
_FORMAT = 1  # raise it when the layout of the cache changes
_INITRD, _DISK = "initrd.cpio.gz", "disk.img"  # the two files that are built here


@dataclass(frozen=True, slots=True)
class Guest:
    """Where the built guest lies. Guests write to `disk`: copy it where that matters."""

    directory: Path

    @property
    def image(self) -> Path:
        return self.directory / "Image"

    @property
    def initrd(self) -> Path:
        return self.directory / _INITRD

    @property
    def disk(self) -> Path:
        return self.directory / _DISK


def cache_root() -> Path:
    return Path(os.environ.get("ASYNCEMU_GUEST_CACHE") or Path(__file__).resolve().parent / "cache")


def ensure(root: Path | None = None, suites: Sequence[str] = SUITES) -> Guest:
    """The guest, fetched and built if need be; raises FetchError. Safe to call from several processes at once."""
    root = root or cache_root()
    directory = root / ARCHITECTURE
    fetch_key, build_key = _fetch_key(), _build_key()
    if _is_valid(directory, fetch_key, build_key):
        return Guest(directory)
    try:
        with cache.locked(root):
            if not _is_valid(directory, fetch_key, build_key):
                with cache.stage(root) as work:
                    _fill(directory, work, suites, fetch_key, build_key)
    except OSError as error:
        raise FetchError(f"{error.filename or root}: {error.strerror}") from error
    return Guest(directory)


def _is_valid(directory: Path, fetch_key: str, build_key: str) -> bool:
    manifest = cache.load(directory)
    if manifest is None or (manifest.fetch_key, manifest.build_key) != (fetch_key, build_key):
        return False
    return cache.sizes_match(directory, manifest) and (manifest.blockbench or not programs.have_compiler())


def _fetch_key() -> str:
    wanted = [_FORMAT, ARCHITECTURE, _METAPACKAGE, _BUSYBOX, {name: list(modules) for name, modules in GROUPS.items()}]
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()


def _build_key() -> str:
    folder = Path(__file__).parent
    parts = [
        initramfs.INIT,
        initramfs.UDHCPC_SCRIPT,
        programs.HEADER,
        *programs.SOURCES.values(),
        *(folder / f"{m}.py" for m in ("initramfs", "newc", "programs")),
    ]
    return hashlib.sha256(b"".join(hashlib.sha256(part.read_bytes()).digest() for part in parts)).hexdigest()


def _fill(directory: Path, work: Path, suites: Sequence[str], fetch_key: str, build_key: str) -> None:
    staged = work / "staged"
    staged.mkdir()
    old = cache.load(directory)
    if old and old.fetch_key == fetch_key and cache.sizes_match(directory, old, but=(_INITRD, _DISK)):
        suite, packages, release, groups = old.suite, old.packages, old.kernel_release, old.groups
        parts, files = directory, old.files
    else:
        suite, packages, extracted = _fetch(work, suites)
        release, groups = _collect(extracted, staged)
        parts, files = staged, {}
    built = _build_programs(work)
    (staged / _INITRD).write_bytes(_pack_initrd(parts, groups, built))
    if not _has_disk(directory):
        disk.build(staged / _DISK)
    elif _DISK not in files:
        files = {_DISK: cache.describe_file(directory / _DISK)}
    files = files | cache.describe(staged)
    manifest = cache.Manifest(suite, packages, release, groups, bool(built), fetch_key, build_key, files)
    cache.publish(staged, directory, manifest)


def _has_disk(directory: Path) -> bool:
    """Whether there is a disk to keep: a user's files may be on it."""
    path = directory / _DISK
    return path.is_file() and path.stat().st_size == disk.SIZE


def _fetch(work: Path, suites: Sequence[str]) -> tuple[str, dict[str, str], Path]:
    """Suite, package versions and the directory that the packages are extracted to."""
    for program in ("apt-get", "apt-cache", "dpkg-deb", "mke2fs"):
        apt.tool(program)  # a missing one is said now rather than after the download
    mirrors = debian_mirrors(machine_sources())
    if not mirrors:
        raise FetchError("no entry of /etc/apt/sources.list or sources.list.d serves Debian's main component: add one")
    failures: list[str] = []
    for number, (mirror, suite) in enumerate((mirror, suite) for mirror in mirrors for suite in suites):
        attempt = work / f"apt{number}"
        try:
            return suite, *_fetch_suite(attempt, mirror, suite)
        except FetchError as error:
            failures.append(str(error))
            _note(str(error))
    raise FetchError("no suite could be fetched: " + "; ".join(failures))


def _fetch_suite(attempt: Path, mirror: Source, suite: str) -> tuple[dict[str, str], Path]:
    client = apt.PrivateApt(attempt, mirror, suite, ARCHITECTURE)
    client.update()
    names = [*apt.kernel_packages(_METAPACKAGE, client.show), _BUSYBOX]
    packages = {name: client.show(name)["version"] for name in names}
    _note(f"suite {suite}: fetching {', '.join(f'{name} {version}' for name, version in packages.items())}")
    downloads, extracted = attempt / "debs", attempt / "root"
    downloads.mkdir()
    for package in client.download(names, downloads):
        done = subprocess.run([apt.tool("dpkg-deb"), "-x", package, extracted], capture_output=True, text=True)
        if done.returncode != 0:
            raise FetchError(f"suite {suite}: dpkg-deb cannot extract {package.name}: {done.stderr.strip()}")
        package.unlink()
    return packages, extracted


def _collect(extracted: Path, staged: Path) -> tuple[str, dict[str, list[str]]]:
    """Move what is needed to `staged`; kernel release and load order of each module group."""
    trees = [path for pattern in ("usr/lib/modules/*", "lib/modules/*") for path in extracted.glob(pattern)]
    kernels = [path for pattern in ("boot/vmlinu*", "usr/lib/modules/*/vmlinuz") for path in extracted.glob(pattern)]
    busybox = [path for path in (extracted / "usr/bin/busybox", extracted / "bin/busybox") if path.is_file()]
    if not (trees and kernels and busybox):
        raise FetchError("the packages hold no kernel, modules or busybox where they are looked for")
    kernels[0].replace(staged / "Image")
    busybox[0].replace(staged / "busybox")
    tree = ModuleTree(trees[0])
    groups = {group: load_order(tree, names) for group, names in GROUPS.items()}
    (staged / "modules").mkdir()
    for name in {name for names in groups.values() for name in names}:
        (staged / "modules" / f"{name}.ko").write_bytes(tree.data(name))
    return trees[0].name, groups


def _build_programs(work: Path) -> dict[str, bytes]:
    """Our own programs by name; none without a compiler."""
    if not programs.have_compiler():
        _note(f"{programs.COMPILER} not found: session=blockbench will not work (package gcc-riscv64-linux-gnu)")
        return {}
    for name in programs.SOURCES:
        programs.build(name, work / name)
    return {name: (work / name).read_bytes() for name in programs.SOURCES}


def _pack_initrd(parts: Path, groups: Mapping[str, Sequence[str]], built: Mapping[str, bytes]) -> bytes:
    names = dict.fromkeys(name for group in groups.values() for name in group)
    modules = {name: (parts / "modules" / f"{name}.ko").read_bytes() for name in names}
    return initramfs.build((parts / "busybox").read_bytes(), modules, groups, built)


def _note(text: str) -> None:
    print(f"guests: {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="guests.fetch", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--verify", action="store_true", help="check the SHA-256 of all cached files but the disk")
    arguments = parser.parse_args()
    try:
        guest = ensure()
        if arguments.verify:
            _verify(guest.directory)
    except FetchError as error:
        _note(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    print(guest.directory)
    return 0


def _verify(directory: Path) -> None:
    manifest = cache.load(directory)
    files = manifest.files if manifest else {}
    for path, (_, digest) in files.items():
        if path != _DISK and cache.sha256(directory / path) != digest:
            raise FetchError(
                f"{directory / path} has changed since it was built: remove {directory} and run this again"
            )


if __name__ == "__main__":
    sys.exit(main())
