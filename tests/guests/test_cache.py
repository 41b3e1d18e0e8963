from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guests import cache
from guests.errors import FetchError


def manifest(files: dict[str, tuple[int, str]]) -> cache.Manifest:
    return cache.Manifest("trixie", {"busybox-static": "1"}, "6.12", {"base": ["virtio"]}, True, "f", "b", files)


def publish(root: Path, contents: dict[str, bytes]) -> cache.Manifest:
    """Publish the files to root/guest and return the manifest."""
    with cache.stage(root) as staged:
        for path, data in contents.items():
            (staged / path).parent.mkdir(parents=True, exist_ok=True)
            (staged / path).write_bytes(data)
        described = manifest(cache.describe(staged))
        cache.publish(staged, root / "guest", described)
    return described


def test_publish_manifest_reads_back(tmp_path: Path) -> None:
    written = publish(tmp_path, {"Image": b"kernel", "modules/a.ko": b"module"})

    assert cache.load(tmp_path / "guest") == written
    assert cache.sizes_match(tmp_path / "guest", written)


def test_publish_new_kernel_removes_modules_of_the_old(tmp_path: Path) -> None:
    publish(tmp_path, {"modules/old.ko": b"1", "Image": b"1"})
    publish(tmp_path, {"modules/new.ko": b"2", "Image": b"2"})

    files = sorted(path.name for path in (tmp_path / "guest").rglob("*") if path.is_file())
    assert files == ["Image", "manifest.json", "new.ko"]


def test_describe_file_has_size_and_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")

    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert cache.describe(tmp_path) == {"x": (3, digest)}


def test_sizes_match_shortened_file_is_noticed_unless_excepted(tmp_path: Path) -> None:
    written = publish(tmp_path, {"Image": b"kernel", "disk.img": b"disk"})
    (tmp_path / "guest/disk.img").write_bytes(b"")

    assert not cache.sizes_match(tmp_path / "guest", written)
    assert cache.sizes_match(tmp_path / "guest", written, but=("disk.img",))


def test_sizes_match_missing_file_is_noticed(tmp_path: Path) -> None:
    written = publish(tmp_path, {"Image": b"kernel"})
    (tmp_path / "guest/Image").unlink()

    assert not cache.sizes_match(tmp_path / "guest", written)


def test_load_no_manifest_is_none(tmp_path: Path) -> None:
    assert cache.load(tmp_path) is None


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["files", "suite"]), inner),
    max_leaves=6,
)


@given(st.binary(max_size=50) | _json.map(lambda value: repr(value).replace("'", '"').encode()))
def test_load_damaged_manifest_is_none(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / cache.MANIFEST).write_bytes(text)

        assert cache.load(Path(directory)) is None


def test_stage_left_over_of_a_killed_run_is_removed(tmp_path: Path) -> None:
    left_over = tmp_path / ".stage-killed"
    left_over.mkdir()

    with cache.stage(tmp_path) as staged:
        assert not left_over.exists()
        assert staged.is_dir()


def test_locked_unwritable_root_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(FetchError, match="cannot write to the guest cache"), cache.locked(tmp_path / "file"):
        pass
