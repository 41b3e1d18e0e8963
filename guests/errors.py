"""The one error of this package."""

from __future__ import annotations


class FetchError(Exception):
    """The guest cannot be fetched or built; the text is one line: what is wrong, where, what to do."""
