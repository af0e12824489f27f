"""Why a run cannot start: every reason at once, each with what to write instead."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing to correct.

    Attributes:
        where: the dotted key, the keys, or the override that it is about.
        text: what is wrong and what to write instead.
    """

    where: str
    text: str


class RunRefusedError(ValueError):
    """Base of the errors that stop a run before it starts.

    Attributes:
        reasons: all of them; `str()` of the error lists them for a person to read.
    """

    headline = "The run cannot start"

    def __init__(self, reasons: Sequence[Reason]) -> None:
        self.reasons = tuple(reasons)
        count = "1 thing" if len(self.reasons) == 1 else f"{len(self.reasons)} things"
        parts = [f"{self.headline}: {count} to correct."]
        parts += [f"  {reason.where}\n{textwrap.indent(reason.text, ' ' * 6)}" for reason in self.reasons]
        super().__init__("\n\n".join(parts))
