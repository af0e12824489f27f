"""Keeping problems apart for evaluation, by what they ask and not by where they stand.

Each question is ranked by a hash of (seed, normalised question), and those with the lowest ranks are
held out. The choice is random, it does not depend on the order of the source, and it is monotone: when
the source grows, new questions may push held-out ones into training, but no question that was ever
trained on becomes held out. An evaluation of an older policy on the new held-out set stays clean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from curriculum.content import normalise_question, question_of
from replay.records import Problem


@dataclass(frozen=True, slots=True)
class Split:
    """Problems to train on and problems to evaluate on, without common content.

    Attributes:
        train: in the source's order.
        held_out: in the order of their rank, so any prefix is a random sample too.
        duplicates_removed: problems whose question had occurred before; the first one is kept.
        conflicting_answers: those among the removed whose answer differs from the one that was kept.
            Usual where many answers are right, an error in the data elsewhere.
    """

    train: tuple[Problem, ...]
    held_out: tuple[Problem, ...]
    duplicates_removed: int
    conflicting_answers: int


def split_problems(problems: Iterable[Problem], held_out: int, seed: int) -> Split:
    """Remove duplicates, then keep `held_out` of the remaining problems apart.

    Raises:
        ValueError: if nothing would be left to train on, or two different questions share an id.
    """
    if held_out < 0:
        raise ValueError(f"curriculum.held_out must be 0 or more, got {held_out}")
    unique: dict[str, Problem] = {}
    duplicates = conflicts = 0
    for problem in problems:
        kept = unique.setdefault(normalise_question(question_of(problem)), problem)
        if kept is not problem:
            duplicates += 1
            conflicts += kept.answer != problem.answer
    if held_out >= len(unique):
        raise ValueError(
            f"curriculum.held_out: {held_out} leaves nothing to train on, since the source has {len(unique)} "
            f"different problems ({duplicates} duplicates removed); write a smaller number or add problems"
        )
    _check_ids(unique.values())
    ranked = sorted(unique, key=lambda content: _rank(content, seed))
    kept_apart = ranked[:held_out]
    apart = frozenset(kept_apart)
    return Split(
        train=tuple(problem for content, problem in unique.items() if content not in apart),
        held_out=tuple(unique[content] for content in kept_apart),
        duplicates_removed=duplicates,
        conflicting_answers=conflicts,
    )


def _rank(content: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{content}".encode()).digest()


def _check_ids(problems: Iterable[Problem]) -> None:
    by_id: dict[str, Problem] = {}
    for problem in problems:
        other = by_id.setdefault(problem.id, problem)
        if other is not problem:
            raise ValueError(
                f"two different questions have the id {problem.id!r}: {question_of(other)[:80]!r} and "
                f"{question_of(problem)[:80]!r}; ids must be unique over all sources"
            )
