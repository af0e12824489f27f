"""The one error of all sources."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SourceError(ValueError):
    """The problems cannot be read as configured. The message names the key, file, line or row."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence with the nearest known words, or with all of them when none is near."""
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=3)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known are: {', '.join(choices)}."
