# SPDX-License-Identifier: GPL-2.0-or-later
"""The device tree writer, with dtc (Debian's device-tree-compiler) as the judge of what it writes."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.machine.device_tree import Node, Value, u64

needs_dtc = pytest.mark.skipif(shutil.which("dtc") is None, reason="needs dtc of device-tree-compiler")

Tree: TypeAlias = tuple[Mapping[str, bytes], Mapping[str, "Tree"]]


def dtc(source: bytes, *arguments: str) -> bytes:
    """What dtc makes of it; a warning is a failure."""
    done = subprocess.run(["dtc", *arguments], input=source, capture_output=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def read_tree(blob: bytes) -> Tree:
    """A reader of structure and strings block that shares nothing with the writer."""
    _, total, structure, strings, *_, strings_size, structure_size = struct.unpack_from(">10I", blob)
    assert total == len(blob)
    assert not any(blob[strings + strings_size :])

    def string(at: int) -> str:
        return blob[at : blob.index(0, at)].decode()

    def token(at: int) -> int:
        return int(struct.unpack_from(">I", blob, at)[0])

    def aligned(at: int) -> int:
        return at + -at % 4

    def node(at: int) -> tuple[str, Tree, int]:
        assert token(at) == 1
        name = string(at + 4)
        at = aligned(at + 4 + len(name) + 1)
        properties: dict[str, bytes] = {}
        while token(at) == 3:
            size, name_at = struct.unpack_from(">II", blob, at + 4)
            properties[string(strings + name_at)] = blob[at + 12 : at + 12 + size]
            at = aligned(at + 12 + size)
        children: dict[str, Tree] = {}
        while token(at) == 1:
            child, tree, at = node(at)
            children[child] = tree
        assert token(at) == 2
        return name, (properties, children), at + 4

    name, tree, at = node(structure)
    assert (name, token(at), at + 4) == ("", 9, structure + structure_size)
    return tree


def encoded(value: Value) -> bytes:
    """What a property's bytes are to be, for the kinds of values that the random trees have."""
    match value:
        case True:
            return b""
        case bytes():
            return value
        case int():
            return struct.pack(">I", value)
        case str():
            return value.encode() + b"\0"
        case [str(), *_]:
            return "\0".join([*map(str, value), ""]).encode()
    assert isinstance(value, list)
    return struct.pack(f">{len(value)}I", *value)


# A letter in front keeps random names clear of each other, and a digit behind of those whose meaning dtc checks.
names = st.from_regex(r"n[0-9A-Za-z,._+-]{0,30}", fullmatch=True)
property_names = st.from_regex(r"p[0-9A-Za-z,._+?#-]{0,29}[0-9]", fullmatch=True)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
cells = st.integers(0, 0xFFFF_FFFF)
values: st.SearchStrategy[Value] = st.one_of(
    st.just(True),
    cells,
    st.lists(cells, min_size=1, max_size=9),
    texts,
    st.lists(texts, min_size=1, max_size=4),
    st.binary(max_size=70),
)
Model: TypeAlias = tuple[dict[str, Value], dict[str, "Model"]]
properties = st.dictionaries(property_names, values, max_size=4)
models: st.SearchStrategy[Model] = st.recursive(
    st.tuples(properties, st.just({})),
    lambda inner: st.tuples(properties, st.dictionaries(names, inner, max_size=3)),
    max_leaves=8,
)


def build(node: Node, model: Model) -> None:
    properties, children = model
    for name, value in properties.items():
        node[name] = value
    for name, child in children.items():
        build(node.add(name), child)


def expected(model: Model) -> Tree:
    properties, children = model
    return {k: encoded(v) for k, v in properties.items()}, {k: expected(v) for k, v in children.items()}


@settings(max_examples=50, deadline=None)
@given(models)
def test_to_blob_random_tree_reads_back_equal(model: Model) -> None:
    root = Node()
    build(root, model)
    assert read_tree(root.to_blob()) == expected(model)


@needs_dtc
@settings(max_examples=25, deadline=None)
@given(models, st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1)), max_size=3), cells)
def test_to_blob_random_tree_survives_dtc(model: Model, reserved: list[tuple[int, int]], boot_cpu: int) -> None:
    root = Node()
    build(root, model)
    blob = root.to_blob(reserved=reserved, boot_cpu=boot_cpu)
    through_text = dtc(dtc(blob, "-I", "dtb", "-O", "dts"), "-I", "dts", "-O", "dtb", "-s", "-b", str(boot_cpu))
    assert through_text == dtc(blob, "-I", "dtb", "-O", "dtb", "-s")


BOARD = b"""/dts-v1/;
/memreserve/ 0x80000000 0x1000;
/ { #address-cells = <2>; #size-cells = <2>; compatible = "riscv-virtio"; model = "a board";
 chosen { bootargs = "console=ttyS0"; stdout-path = "/soc/serial@10000000"; };
 cpus { #address-cells = <1>; #size-cells = <0>; timebase-frequency = <10000000>;
  cpu@0 { device_type = "cpu"; reg = <0>; compatible = "riscv"; riscv,isa-extensions = "i", "m", "a";
   intc: interrupt-controller { #interrupt-cells = <1>; #address-cells = <0>; interrupt-controller;
    compatible = "riscv,cpu-intc"; }; }; };
 memory@80000000 { device_type = "memory"; reg = <0 0x80000000 1 0>; };
 soc { #address-cells = <2>; #size-cells = <2>; compatible = "simple-bus"; ranges;
  plic: plic@c000000 { compatible = "sifive,plic-1.0.0", "riscv,plic0"; reg = <0 0xc000000 0 0x600000>;
   #interrupt-cells = <1>; #address-cells = <0>; interrupt-controller; interrupts-extended = <&intc 11 &intc 9>; };
  serial@10000000 { compatible = "ns16550a"; reg = <0 0x10000000 0 0x100>; interrupts = <10>;
   interrupt-parent = <&plic>; };
 };
};
"""


def board() -> Node:
    wide: dict[str, Value] = {"#address-cells": 2, "#size-cells": 2}
    root = Node()
    for name, value in wide.items():
        root[name] = value
    root["compatible"] = "riscv-virtio"
    root["model"] = "a board"
    chosen = root.add("chosen", bootargs="console=ttyS0")
    cpus = root.add("cpus", {"#address-cells": 1, "#size-cells": 0, "timebase-frequency": 10_000_000})
    cpu = cpus.add("cpu@0", {"riscv,isa-extensions": ["i", "m", "a"]}, device_type="cpu", reg=0, compatible="riscv")
    controller: dict[str, Value] = {"#interrupt-cells": 1, "#address-cells": 0, "interrupt-controller": True}
    intc = cpu.add("interrupt-controller", controller, compatible="riscv,cpu-intc")
    root.add("memory@80000000", device_type="memory", reg=u64(0x8000_0000, 0x1_0000_0000))
    soc = root.add("soc", wide, compatible="simple-bus", ranges=True)
    plic = soc.add(
        "plic@c000000",
        {**controller, "interrupts-extended": [intc, 11, intc, 9]},
        compatible=["sifive,plic-1.0.0", "riscv,plic0"],
        reg=u64(0xC00_0000, 0x60_0000),
    )
    serial = soc.add("serial@10000000", compatible="ns16550a", reg=u64(0x1000_0000, 0x100), interrupts=10)
    serial["interrupt-parent"] = plic
    chosen["stdout-path"] = serial.path
    return root


@needs_dtc
def test_to_blob_board_equals_what_dtc_compiles() -> None:
    ours = board().to_blob(reserved=[(0x8000_0000, 0x1000)])
    assert dtc(ours, "-I", "dtb", "-O", "dtb", "-s") == dtc(BOARD, "-I", "dts", "-O", "dtb", "-s")


def test_to_blob_header_says_version_17_and_boot_cpu() -> None:
    header = struct.unpack_from(">10I", Node().to_blob(boot_cpu=3))
    assert (header[0], header[5], header[6], header[7]) == (0xD00DFEED, 17, 16, 3)


def test_to_blob_any_tree_is_a_multiple_of_8_bytes() -> None:
    root = Node()
    root["model"] = "odd"
    assert len(root.to_blob()) % 8 == 0


def test_to_blob_with_slack_is_so_much_longer_and_the_same_tree() -> None:
    assert len(board().to_blob(slack=1000)) == len(board().to_blob()) + 1000
    assert read_tree(board().to_blob(slack=1000)) == read_tree(board().to_blob())


def test_to_blob_child_refused() -> None:
    with pytest.raises(ValueError, match="/soc: only a root becomes a blob"):
        Node().add("soc").to_blob()


def test_to_blob_empty_reservation_refused() -> None:
    with pytest.raises(ValueError, match="an empty reservation at 0x1000 would end the map"):
        Node().to_blob(reserved=[(0x1000, 0)])


def test_to_blob_same_property_name_twice_is_stored_once() -> None:
    root = Node()
    root.add("a", status="okay")
    root.add("b", status="okay")
    assert root.to_blob().count(b"status\0") == 1


def test_phandle_asked_twice_is_the_same() -> None:
    node = Node().add("a")
    assert node.phandle == node.phandle == 1


def test_phandle_two_nodes_differ() -> None:
    root = Node()
    assert (root.add("a").phandle, root.add("b").phandle) == (1, 2)


def test_phandle_not_asked_is_absent() -> None:
    assert "phandle" not in Node().add("a").properties


def test_phandle_referenced_is_in_the_tree() -> None:
    root = Node()
    target = root.add("a")
    root.add("b", {"interrupt-parent": target})
    assert target["phandle"] == b"\0\0\0\1"


def test_reference_to_another_tree_refused() -> None:
    stranger = Node().add("stranger")
    with pytest.raises(ValueError, match="/: property 'x': /stranger belongs to another tree"):
        Node()["x"] = stranger


@pytest.mark.parametrize(("node", "path"), [(Node(), "/"), (Node().add("soc").add("serial@1000"), "/soc/serial@1000")])
def test_path_node_is_full(node: Node, path: str) -> None:
    assert node.path == path


@pytest.mark.parametrize("name", ["", "1st", "a b", "a" * 32, "a@", "a@b@c", "a/b", "é", "a#", "a\n"])
def test_add_bad_name_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no node name"):
        Node().add(name)


@pytest.mark.parametrize("name", ["a", "a" * 31, "cpu@0", "a" * 31 + "@10000000", "pci,x.y_z+w-v@1,0"])
def test_add_good_name_accepted(name: str) -> None:
    assert Node().add(name).name == name


def test_add_name_twice_refused() -> None:
    root = Node()
    root.add("soc")
    with pytest.raises(ValueError, match="/: 'soc' is there already"):
        root.add("soc")


def test_add_name_of_a_property_refused() -> None:
    root = Node()
    root["soc"] = 1
    with pytest.raises(ValueError, match="/: 'soc' is there already"):
        root.add("soc")


def test_set_name_of_a_node_refused() -> None:
    root = Node()
    root.add("soc")
    with pytest.raises(ValueError, match="/: 'soc' is there already, as a node"):
        root["soc"] = 1


@pytest.mark.parametrize("name", ["", "a b", "a" * 32, "a@b", "é", "a\n"])
def test_set_bad_property_name_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no property name"):
        Node()[name] = 1


def test_set_phandle_by_hand_refused() -> None:
    with pytest.raises(ValueError, match="phandles are handed out by the tree"):
        Node()["phandle"] = 7


@pytest.mark.parametrize("value", [-1, 1 << 32, [0, 1 << 32]])
def test_set_number_too_large_refused(value: Value) -> None:
    with pytest.raises(ValueError, match="does not fit into a cell of 32 bits"):
        Node()["x"] = value


@pytest.mark.parametrize("value", ["a\0b", ["a", "b\0"]])
def test_set_text_with_nul_refused(value: Value) -> None:
    with pytest.raises(ValueError, match="NUL inside of"):
        Node()["x"] = value


def test_set_text_that_is_no_unicode_refused() -> None:
    with pytest.raises(ValueError, match=r"/: property 'x': .*surrogates not allowed"):
        Node()["x"] = "\udc80"


def test_set_empty_list_refused() -> None:
    with pytest.raises(ValueError, match="an empty list says neither cells nor strings"):
        Node()["x"] = []


@pytest.mark.parametrize("value", [None, 1.5, ["a", 1], [b"a"], [None]])
def test_set_other_kind_refused(value: object) -> None:
    with pytest.raises(TypeError, match="/: property 'x': "):
        Node()["x"] = value  # type: ignore[assignment]


def test_set_truth_value_in_cells_refused() -> None:
    with pytest.raises(TypeError, match="True and False are no cells"):
        Node()["x"] = [1, True]


def test_set_false_removes_the_property() -> None:
    root = Node()
    root["dma-coherent"] = True
    root["dma-coherent"] = False
    assert root.properties == {}


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1))
def test_u64_values_become_big_endian_doublewords(numbers: list[int]) -> None:
    root = Node()
    root["reg"] = u64(*numbers)
    assert root["reg"] == struct.pack(f">{len(numbers)}Q", *numbers)


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_u64_out_of_range_refused(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit into 64 bits"):
        u64(value)
