"""The cache of built guests: its manifest, its lock, and how new files appear in it all at once.

A directory is valid when its manifest.json is there and names exactly what is wanted; the manifest is removed
before and written after the files change, so whoever sees it sees whole files. Writers hold the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from guests.errors import FetchError

MANIFEST = "manifest.json"
_STAGE_PREFIX = ".stage-"


@dataclass(frozen=True, slots=True)
class Manifest:
    suite: str
    packages: dict[str, str]
    """Package -> version."""
    kernel_release: str
    groups: dict[str, list[str]]
    """Module group -> modules in load order."""
    blockbench: bool
    """Whether the initrd has it, and our other programs: they take a cross compiler."""
    fetch_key: str
    """Says what was asked of Debian; another key means fetch again."""
    build_key: str
    """Hash of everything of ours that goes into the initrd; another key means rebuild it from the cache."""
    files: dict[str, tuple[int, str]]
    """Path in the cache -> size in bytes, SHA-256. The disk's hash is that of its first state: guests write to it."""


def load(directory: Path) -> Manifest | None:
    """The manifest, or None when there is none that this version can read."""
    try:
        fields = json.loads((directory / MANIFEST).read_text())
        files = {str(path): (int(size), str(digest)) for path, (size, digest) in fields.pop("files").items()}
        return Manifest(files=files, **fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def sizes_match(directory: Path, manifest: Manifest, *, but: Collection[str] = ()) -> bool:
    """Whether every file of the manifest, `but` some, is there with its size; quick, so that each run can ask."""
    sizes = {path: size for path, (size, _) in manifest.files.items() if path not in but}
    try:
        return all((directory / path).stat().st_size == size for path, size in sizes.items())
    except OSError:
        return False


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def describe(directory: Path) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each file below `directory`, the manifest left out."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(directory)): describe_file(path) for path in paths}


def describe_file(path: Path) -> tuple[int, str]:
    return path.stat().st_size, sha256(path)


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of the cache root, waiting for another process that is filling it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / ".lock").open("w")
    except OSError as error:
        raise FetchError(f"cannot write to the guest cache {root}: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def stage(root: Path) -> Iterator[Path]:
    """A temporary directory on the cache's file system; left-overs of killed runs are removed. Hold the lock."""
    for left_over in root.glob(_STAGE_PREFIX + "*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_STAGE_PREFIX, dir=root) as path:
        yield Path(path)


def publish(staged: Path, directory: Path, manifest: Manifest) -> None:
    """Move the staged files into `directory`, remove what the manifest does not name, then write it. Hold the lock."""
    directory.mkdir(exist_ok=True)
    (directory / MANIFEST).unlink(missing_ok=True)
    for source in sorted(path for path in staged.rglob("*") if path.is_file()):
        target = directory / source.relative_to(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
    for path in directory.rglob("*"):
        if path.is_file() and str(path.relative_to(directory)) not in manifest.files:
            path.unlink()
    temporary = directory / (MANIFEST + ".new")
    temporary.write_text(json.dumps(asdict(manifest), indent=1) + "\n")
    temporary.replace(directory / MANIFEST)
