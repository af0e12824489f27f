"""When two questions count as the same: the identity behind ids, deduplication and the split."""

from __future__ import annotations

import hashlib
import unicodedata

from replay.records import Problem


def normalise_question(question: str) -> str:
    """The question without differences of Unicode form (NFKC), case and white space.

    Coarse on purpose: two questions wrongly taken for one cost a single problem, while a held-out
    question that is also trained on makes the evaluation worthless.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", question).casefold())
    return " ".join(folded.split())


def content_id(question: str) -> str:
    """16 hex digits that depend only on the normalised question; the stable part of a problem's id."""
    return hashlib.sha256(normalise_question(question).encode()).hexdigest()[:16]


def question_of(problem: Problem) -> str:
    """The question before the template was applied, or the prompt of a problem that did not keep it."""
    question = problem.metadata.get("question")
    return question if isinstance(question, str) else problem.prompt
