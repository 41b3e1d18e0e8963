# SPDX-License-Identifier: GPL-2.0-or-later
"""What the documents say about tests is so: each test that they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"

#: [test_what_it_shows](../tests/path.py)
NAMED = re.compile(r"\[(test_\w+)\]\(([^)#]+)\)")
LINK = re.compile(r"\]\(([^)#:]+)\)")

PAGES = sorted(DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]

    assert missing == []


@pytest.mark.parametrize(
    ("name", "least"),
    [("event-model.md", 40), ("block.md", 10), ("block-compat.md", 1), ("networking.md", 8), ("chardevs.md", 12)],
)
def test_page_names_tests_that_exist(name: str, least: int) -> None:
    page = DOCS / name
    named = NAMED.findall(page.read_text())
    missing = [name for name, link in named if f"def {name}(" not in (page.parent / link).read_text()]

    assert len(named) >= least
    assert missing == []
