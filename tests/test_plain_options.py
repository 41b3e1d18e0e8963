# SPDX-License-Identifier: GPL-2.0-or-later
"""Options without pydantic: what a class declares, what a user's table becomes, and that pydantic sees the same."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from asyncemu.errors import ConfigError, ConfigErrors
from asyncemu.host_file import HostFile
from asyncemu.host_path import HostPath
from asyncemu.option_values import OptionError, converter_of
from asyncemu.options import Options
from asyncemu.plain_options import PlainOptions, option
from asyncemu.plain_options_pydantic import given_options, model_of
from asyncemu.plugin_options import validate
from asyncemu.size import LARGEST, Size


class Inner(PlainOptions):
    """A nested table."""

    direct: bool = option(default=False, description="Directly.")
    depth: int = option(default=1, ge=1, le=9)


class Base(PlainOptions):
    """What both have."""

    read_only: bool = False


class Wide(Base):
    """Every sort of key."""

    limit: ClassVar[int] = 3
    _cache: int = 0
    needed: str = option(description="Must be there.", max_length=8)
    count: int = option(default=0, ge=0, le=10)
    ratio: float = 1.0
    mode: Literal["auto", "on", "off"] = option(default="auto")
    size: Size | None = option(default=None, ge=512)
    file: str | dict[str, Any] | None = None
    image: HostFile = "default.img"
    path: HostPath | None = None
    inner: Inner = option(default=Inner())
    several: list[Inner] = option(default=[], max_length=2)
    names: tuple[str, ...] = ()
    type_: str = ""


class Choosing(PlainOptions):
    """A Literal among other types."""

    choice: Literal["all", "none"] | int | Inner | None = None


class Outer(Options):
    """A pydantic model with plain options in it."""

    wide: Wide
    many: list[Inner] = Field(default=[])


def parsed(**table: object) -> Wide:
    return Wide.parse({"needed": "x", **table}, "here")


def mistake(**table: object) -> str:
    with pytest.raises(ConfigError) as raised:
        parsed(**table)
    return str(raised.value)


# ---- a Literal among others


@pytest.mark.parametrize(("value", "made"), [("none", "none"), ("7", 7), ({"depth": 2}, Inner(depth=2)), (None, None)])
def test_literal_of_a_union_leaves_other_values_to_the_other_types(value: object, made: object) -> None:
    assert Choosing.parse({"choice": value}, "here").choice == made


def test_literal_of_a_union_is_named_where_nothing_fits() -> None:
    with pytest.raises(ConfigError) as raised:
        Choosing.parse({"choice": "some"}, "here")
    assert str(raised.value) == "here.choice: must be 'all' or 'none' or a whole number or a table, not 'some'"


# ---- classes and instances


def test_class_fields_are_the_inherited_ones_then_its_own_without_class_variables() -> None:
    assert list(Wide.fields)[:3] == ["read_only", "needed", "count"]
    assert not {"limit", "_cache"} & set(Wide.fields)


def test_class_field_names_become_keys() -> None:
    assert {"read-only", "type"} <= {field.key for field in Wide.fields.values()}


def test_instance_has_given_values_and_defaults() -> None:
    options = Wide(needed="x", count=3)

    assert (options.needed, options.count, options.mode, options.inner.depth) == ("x", 3, "auto", 1)


def test_instance_list_default_is_its_own() -> None:
    first, second = Wide(needed="x"), Wide(needed="x")

    first.several.append(Inner())

    assert second.several == []


@pytest.mark.parametrize("values", [{}, {"needed": "x", "nedded": "y"}])
def test_instance_with_wrong_names_is_a_type_error(values: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="Wide: "):
        Wide(**values)


def test_instance_does_not_change() -> None:
    options = Inner()

    with pytest.raises(AttributeError, match="does not change"):
        options.depth = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="does not change"):
        del options.depth


def test_instance_equal_options_of_one_class_are_equal_and_hash_alike() -> None:
    assert Inner(depth=2) == Inner(depth=2, direct=False)
    assert hash(Inner(depth=2)) == hash(Inner(depth=2))
    assert Inner() != Inner(depth=2)
    assert Inner() != Base()


def test_instance_can_be_copied_deeply() -> None:
    options = Wide(needed="x", several=[Inner(depth=2)])

    assert copy.deepcopy(options) == options


def test_instance_shows_all_fields() -> None:
    assert repr(Inner(depth=2)) == "Inner(direct=False, depth=2)"


def test_replaced_changes_a_copy() -> None:
    options = Wide(needed="x", count=3)

    changed = options.replaced(count=4)

    assert (options.count, changed.count, changed.needed) == (3, 4, "x")


def test_is_given_tells_a_default_from_the_same_value_given() -> None:
    assert parsed(file=None).is_given("file")
    assert not parsed().is_given("file")


def test_given_holds_what_differs_from_defaults_by_keys() -> None:
    options = Wide(needed="x", read_only=True, inner=Inner(depth=2), several=[Inner()], count=0)

    assert options.given() == {"read-only": True, "needed": "x", "inner": {"depth": 2}, "several": [{}]}


def test_written_keeps_the_spelling() -> None:
    assert parsed(size="1M", count="0x5").written() == {"needed": "x", "size": "1M", "count": "0x5"}


def test_written_file_name_is_the_one_that_is_opened() -> None:
    options = Wide.parse({"needed": "x", "image": "a.img"}, "here", Path("/images"))

    assert options.written()["image"] == "/images/a.img"


def test_written_of_options_made_by_code_is_what_differs() -> None:
    assert Inner(depth=2).written() == {"depth": 2}


def test_annotation_of_an_unknown_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="an option can't be of type"):
        converter_of(complex)


# ---- parsing


@pytest.mark.parametrize(
    ("key", "value", "result"),
    [
        ("read-only", True, True),
        ("read_only", True, True),
        ("read-only", "on", True),
        ("read-only", "no", False),
        ("read-only", "Y", True),
        ("read-only", 0, False),
        ("count", 7, 7),
        ("count", 7.0, 7),
        ("count", "7", 7),
        ("count", "0x7", 7),
        ("count", "07", 7),
        ("count", "+7", 7),
        ("ratio", 2, 2.0),
        ("ratio", "2.5", 2.5),
        ("mode", "on", "on"),
        ("size", 4096, 4096),
        ("size", "4K", 4096),
        ("size", "0x1000", 4096),
        ("size", None, None),
        ("file", "node0", "node0"),
        ("file", {"driver": "file"}, {"driver": "file"}),
        ("image", "./a.img", "./a.img"),
        ("image", "~/a.img", "~/a.img"),
        ("path", "a.img", Path("a.img")),
        ("inner", {"direct": "on"}, Inner(direct=True)),
        ("inner", Inner(depth=3), Inner(depth=3)),
        ("several", [{}, {"depth": 2}], [Inner(), Inner(depth=2)]),
        ("names", ["a", "b"], ("a", "b")),
        ("type", "x", "x"),
    ],
)
def test_parse_value_becomes_the_field_s_type(key: str, value: object, result: object) -> None:
    options = parsed(**{key: value})

    found = getattr(options, {"type": "type_"}.get(key, key.replace("-", "_")))

    assert (found, type(found)) == (result, type(result))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"cuont": 1}, "here.cuont: unknown key; did you mean 'count'?"),
        ({"a key": 1}, "here.'a key': unknown key; known: "),
        ({"count": "many"}, "here.count: must be a whole number, not 'many'"),
        ({"count": 1.5}, "here.count: must be a whole number, not 1.5"),
        ({"count": True}, "here.count: must be a whole number, not true"),
        ({"count": "9" * 50}, "here.count: must be a whole number, not "),
        ({"count": -1}, "here.count: must be at least 0, not -1"),
        ({"count": "11"}, "here.count: must be at most 10, not 11"),
        ({"read-only": "perhaps"}, "here.read-only: must be true or false, not 'perhaps'"),
        ({"read-only": 2}, "here.read-only: must be true or false, not 2"),
        ({"read-only": [1]}, "here.read-only: must be true or false, not a list"),
        ({"ratio": "x"}, "here.ratio: must be a number, not 'x'"),
        ({"ratio": "1e999"}, "here.ratio: must be a finite number, not '1e999'"),
        ({"ratio": 10**400}, "here.ratio: must be a number, not a number with very many digits"),
        ({"mode": "onn"}, "here.mode: 'onn' is not one of its values; did you mean 'on'?"),
        ({"mode": True}, "here.mode: true is not one of its values"),
        ({"size": "x"}, "here.size: 'x' is not a size; write 4096, 512K or 256MiB"),
        ({"size": 100}, "here.size: must be at least 512, not 100"),
        ({"size": -1}, "here.size: must be at least 0, not -1"),
        ({"size": LARGEST + 1}, f"here.size: must be at most {LARGEST}, not {LARGEST + 1}"),
        ({"file": 5}, "here.file: must be text or a table, not 5"),
        ({"image": ""}, "here.image: is empty; give the path of a file"),
        ({"image": "a\0b"}, "here.image: has a NUL character, which no file's name has"),
        ({"image": "\ud800"}, "here.image: has a character that no file's name has"),
        ({"image": 5}, "here.image: must be a path, as text, not 5"),
        ({"path": 5}, "here.path: must be a path, as text, not 5"),
        ({"inner": "x"}, "here.inner: must be a table, not 'x'"),
        ({"inner": {"depth": 10}}, "here.inner.depth: must be at most 9, not 10"),
        ({"inner": {"dpeth": 1}}, "here.inner.dpeth: unknown key; did you mean 'depth'?"),
        ({"several": {}}, "here.several: must be a list, not a table"),
        ({"several": [{}, {}, {}]}, "here.several: has 3 entries, at most 2"),
        ({"several": [{}, {"depth": "x"}]}, "here.several[1].depth: must be a whole number, not 'x'"),
        ({"several": [{}, 5]}, "here.several[1]: must be a table, not 5"),
        ({"names": [5]}, "here.names[0]: must be text, not 5"),
        ({"needed": "123456789"}, "here.needed: has 9 characters, at most 8"),
        ({"read-only": True, "read_only": True}, "here.read_only: is given twice"),
    ],
)
def test_parse_wrong_table_is_one_line_at_its_place(table: dict[str, object], message: str) -> None:
    found = mistake(**table)

    assert found.startswith(message)
    assert "\n" not in found


def test_parse_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^here\.needed: is missing$"):
        Wide.parse({}, "here")


def test_parse_unknown_key_may_be_meant_for_another_that_was_taken_out() -> None:
    with pytest.raises(ConfigError, match="did you mean 'node-name'"):
        Wide.parse({"needed": "x", "node-nam": "y"}, "here", other_keys=("node-name",))


def test_parse_error_says_which_option_within_the_outermost_ones() -> None:
    with pytest.raises(OptionError) as raised:
        parsed(several=[{}, {"depth": "x"}])

    error = raised.value
    assert (error.option, error.flaw, error.expected, error.value) == (
        "several.1.depth",
        "value",
        "a whole number",
        "x",
    )


def test_parse_file_name_in_a_toml_file_is_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")

    def image(name: str, directory: Path) -> str:
        return Wide.parse({"needed": "x", "image": name}, "here", directory).image

    assert image("./a.img", tmp_path) == f"{tmp_path}/./a.img"
    assert image("/a.img", tmp_path) == "/a.img"
    assert image("~/a.img", tmp_path) == "/home/somebody/a.img"
    assert image("a.img", Path()) == "a.img"


def test_parse_file_name_of_nobody_s_home_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="~nobody-at-all means no home directory; write it out"):
        Wide.parse({"needed": "x", "image": "~nobody-at-all/a.img"}, "here", tmp_path)


# ---- the same through pydantic

values = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.just("on")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
tables = st.dictionaries(
    st.one_of(st.sampled_from([field.key for field in Wide.fields.values()]), st.text(max_size=8)), values, max_size=5
)


@given(tables)
def test_parse_any_table_is_options_or_one_line(table: dict[str, object]) -> None:
    try:
        options = Wide.parse(table, "here")
    except ConfigError as error:
        assert str(error).startswith("here.")
        assert "\n" not in str(error)
    else:
        assert isinstance(options, Wide)


@given(tables.map(lambda table: {"needed": "x", **table}))
def test_parse_and_pydantic_agree_on_what_a_file_holds(table: dict[str, object]) -> None:
    try:
        through_pydantic = validate(Wide, table, "here")
    except ConfigErrors:
        # A command line has text only: of this more is understood.
        return

    if not any(isinstance(value, bool) for key, value in table.items() if key in ("count", "ratio", "size")):
        assert Wide.parse(table, "here") == through_pydantic


def test_validate_makes_plain_options_with_all_that_is_wrong_at_once() -> None:
    with pytest.raises(ConfigErrors) as raised:
        validate(Wide, {"count": 11, "inner": {"dpeth": 1}, "several": [{"depth": 0}]}, "here")

    assert [str(error) for error in raised.value.errors] == [
        "here.needed: is missing",
        "here.count: must be at most 10, not 11",
        "here.inner.dpeth: unknown key; did you mean 'depth'?",
        "here.several[0].depth: must be at least 1, not 0",
    ]


def test_validate_remembers_what_was_given() -> None:
    options = validate(Wide, {"needed": "x", "inner": {"depth": 1}}, "here")

    assert [options.is_given("inner"), options.inner.is_given("depth"), options.is_given("count")] == [
        True,
        True,
        False,
    ]


def test_model_has_descriptions_bounds_and_defaults() -> None:
    schema = model_of(Wide).model_json_schema()

    assert schema["required"] == ["needed"]
    assert schema["description"] == "Every sort of key."
    assert schema["properties"]["count"] == {
        "default": 0,
        "maximum": 10,
        "minimum": 0,
        "title": "Count",
        "type": "integer",
    }
    assert schema["properties"]["inner"]["default"] == {"direct": False, "depth": 1}


def test_model_of_a_model_is_itself_and_of_other_classes_a_type_error() -> None:
    assert model_of(Outer) is Outer
    with pytest.raises(TypeError, match="is no class of options"):
        model_of(int)  # type: ignore[arg-type]


def test_plain_options_in_a_model_are_made_of_tables_and_taken_as_they_are() -> None:
    inner = Inner(depth=4)

    outer = Outer.model_validate({"wide": {"needed": "x"}, "many": [{"depth": 3}, inner]})

    assert (outer.wide, outer.many) == (Wide(needed="x"), [Inner(depth=3), inner])
    assert given_options(outer) == {"wide": {"needed": "x"}, "many": [{"depth": 3}, {"depth": 4}]}


def test_plain_options_in_a_model_are_explained_with_the_rest() -> None:
    with pytest.raises(ConfigErrors) as raised:
        validate(Outer, {"wide": {"needed": "x", "cuont": 1}, "many": [{"depth": "x"}]}, "here")

    assert [str(error) for error in raised.value.errors] == [
        "here.wide.cuont: unknown key; did you mean 'count'?",
        "here.many[0].depth: must be a whole number, not 'x'",
    ]
