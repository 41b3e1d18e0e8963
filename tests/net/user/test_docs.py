# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/networking.md says what the options are."""

from __future__ import annotations

import re
from pathlib import Path

from asyncemu.net.user.options import UserOptions
from asyncemu.spelling import toml_name

PAGE = Path(__file__).parents[3] / "docs" / "networking.md"


def test_table_of_options_is_what_they_say_themselves() -> None:
    options = PAGE.read_text().partition("## Options")[2].partition("##")[0]
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", options, re.MULTILINE))

    assert rows == {toml_name(name): field.description for name, field in UserOptions.model_fields.items()}
