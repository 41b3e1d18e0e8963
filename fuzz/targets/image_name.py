# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of images, by users, scripts and the headers of images: file names, URIs, json:{...}, --image-opts, --object.

    1 byte    how the text is taken; the rest is the text

May be raised inside: ConfigError; JsonError of the JSON reader; ValueError of keys that contradict each other. Nothing
is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from asyncemu.block.image_options import image_table, options_table, table_of_name
from asyncemu.block.naming.json_reader import JsonError, read_json
from asyncemu.block.naming.json_writer import json_text
from asyncemu.block.naming.keyval import parse_keyval
from asyncemu.block.naming.tables import nested
from asyncemu.block.naming.words import qemu_words
from asyncemu.cli.tools.option_strings import has_help, split_options
from asyncemu.errors import ConfigError
from fuzz.choices import Choices
from fuzz.driving import Defect

_SEEDS: Final = (
    "disk.qcow2",
    "file:/a:b",
    "nbd:localhost:10809:exportname=e",
    "nbd+unix:///e?socket=/s",
    "nbd://[::1]:1/%41",
    "blkdebug:conf:a.qcow2",
    "blkverify:a:b",
    "http://u:p@h/x?y",
    'json:{"driver":"raw","file.filename":"a","offset":1e3}',
    'json:{"driver":"qcow2","file":{"driver":"nbd","server":{"type":"inet","host":"h","port":"1"}}}',
    "driver=raw,file.driver=file,file.filename=a,,b",
    "a.0.b=1,a.1=2",
    "throttle-group,id=x,limits.iops-total=3",
)


def fuzz_one(data: bytes) -> None:
    """Read the text in every way that there is for it."""
    choices = Choices(data)
    take = choices.of(_WAYS)
    text = choices.rest().decode("utf-8", "surrogateescape")
    try:
        take(text)
    except ConfigError as error:
        # Shown to the user; a line each.
        qemu_words(error)
        str(error)


def _json(text: str) -> None:
    try:
        value = read_json(text)
    except JsonError:
        return
    if read_json(json_text(value)) != value:
        raise Defect("JSON that we write is read as something else")


def _option_string(text: str) -> None:
    has_help(text)
    pairs = split_options(text, "driver")
    try:
        nested(pairs)
    except ValueError:
        return


_WAYS: Final[tuple[Callable[[str], object], ...]] = (
    image_table,
    options_table,
    table_of_name,
    _json,
    _option_string,
    lambda text: image_table(text, "raw"),
    lambda text: image_table(text, "nbd"),
    lambda text: image_table("json:" + text, "qcow2"),
    lambda text: image_table("nbd://" + text),
    lambda text: image_table("nbd+unix:///" + text),
    lambda text: parse_keyval(text, "qom-type"),
)


def seeds() -> Sequence[bytes]:
    """Names of all sorts, each taken in every way."""
    return [bytes([way]) + text.encode() for way in range(len(_WAYS)) for text in _SEEDS]
