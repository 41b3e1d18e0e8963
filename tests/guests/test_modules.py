from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guests.errors import FetchError
from guests.modules import ModuleInfo, ModuleTree, load_order, parse_modinfo, read_module

from . import kernel_tree


def test_parse_modinfo_dependencies_are_canonical_names() -> None:
    elf = kernel_tree.module("license=GPL", "depends=virtio-ring,virtio", "softdep=pre: crc32c-x post: late")

    assert parse_modinfo(elf) == ModuleInfo(("virtio_ring", "virtio"), ("crc32c_x",))


def test_parse_modinfo_empty_depends_is_none() -> None:
    assert parse_modinfo(kernel_tree.module("depends=")) == ModuleInfo((), ())


@given(st.binary(max_size=200).map(lambda tail: b"\x7fELF\x02\x01" + tail))
def test_parse_modinfo_damaged_file_is_refused_or_read(elf: bytes) -> None:
    try:
        info = parse_modinfo(elf)
    except ValueError:
        return
    assert isinstance(info, ModuleInfo)


WHOLE = kernel_tree.module("depends=virtio")


@given(st.integers(0, len(WHOLE) - 1))
def test_parse_modinfo_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="ELF"):
        parse_modinfo(WHOLE[:length])


def test_load_order_chain_puts_needed_modules_first(tmp_path: Path) -> None:
    strings = {"ext4": ["depends=jbd2,crc16"], "jbd2": ["depends=crc16"], "crc16": ["depends="]}
    tree = ModuleTree(kernel_tree.write(tmp_path / "m", strings))

    assert load_order(tree, ["ext4"]) == ["crc16", "jbd2", "ext4"]


def test_load_order_builtin_modules_are_left_out(tmp_path: Path) -> None:
    root = kernel_tree.write(tmp_path / "m", {"virtio_blk": ["depends=virtio"]}, builtin=["virtio", "rng-core"])

    assert load_order(ModuleTree(root), ["virtio_blk", "rng_core"]) == ["virtio_blk"]


def test_load_order_dashed_file_name_is_found(tmp_path: Path) -> None:
    tree = ModuleTree(kernel_tree.write(tmp_path / "m", {"virtio-rng": ["depends="]}))

    assert load_order(tree, ["virtio_rng"]) == ["virtio_rng"]


def test_load_order_shared_dependency_is_loaded_once(tmp_path: Path) -> None:
    strings = {"a": ["depends=common"], "b": ["depends=common"], "common": ["depends="]}
    tree = ModuleTree(kernel_tree.write(tmp_path / "m", strings))

    assert load_order(tree, ["a", "b"]) == ["common", "a", "b"]


@pytest.mark.parametrize(
    ("soft", "file"), [("crc32c", "crc32c"), ("crc32c", "crc32c_generic"), ("crypto-crc32c", "crc32c_generic")]
)
def test_load_order_soft_dependency_comes_first(tmp_path: Path, soft: str, file: str) -> None:
    strings = {"ext4": ["depends=", f"softdep=pre: {soft}"], file: ["depends="]}
    tree = ModuleTree(kernel_tree.write(tmp_path / "m", strings))

    assert load_order(tree, ["ext4"]) == [file, "ext4"]


def test_load_order_absent_soft_dependency_is_passed_over(tmp_path: Path) -> None:
    tree = ModuleTree(kernel_tree.write(tmp_path / "m", {"ext4": ["depends=", "softdep=pre: crc32c"]}))

    assert load_order(tree, ["ext4"]) == ["ext4"]


def test_load_order_circular_soft_dependencies_end(tmp_path: Path) -> None:
    strings = {"a": ["depends=", "softdep=pre: b"], "b": ["depends=", "softdep=pre: a"]}
    tree = ModuleTree(kernel_tree.write(tmp_path / "m", strings))

    assert load_order(tree, ["a"]) == ["b", "a"]


def test_load_order_circular_dependencies_are_refused(tmp_path: Path) -> None:
    tree = ModuleTree(kernel_tree.write(tmp_path / "m", {"a": ["depends=b"], "b": ["depends=a"]}))

    with pytest.raises(FetchError, match="kernel module a depends on itself"):
        load_order(tree, ["a"])


def test_load_order_missing_module_is_named(tmp_path: Path) -> None:
    tree = ModuleTree(kernel_tree.write(tmp_path / "m", {}))

    with pytest.raises(FetchError, match="module virtio_blk neither as a file nor built in"):
        load_order(tree, ["virtio_blk"])


def test_read_module_damaged_xz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.ko.xz"
    path.write_bytes(b"\xfd7zXZ\0 nonsense")

    with pytest.raises(FetchError, match=r"kernel module x\.ko\.xz cannot be read"):
        read_module(path)
