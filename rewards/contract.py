"""The contract between a grader and the rest of the system.

A grader is a callable of a problem and one completion. It is written as a function, or as a class
that is instantiated once per grader process and whose instance is called.
"""

from numbers import Real
from typing import Protocol

import numpy as np

from replay.records import Completion, Grade, Outcome, Problem


class Grader(Protocol):
    """Judges one completion of one problem.

    It runs in a process of its own that is killed when it takes too long, so it may block, and it
    may raise: an exception becomes the outcome `grader_error`, which enters no advantage.
    """

    def __call__(self, problem: Problem, completion: Completion, /) -> Grade | bool | float:
        """Return a verdict in any form that `as_grade` takes."""
        ...


def as_grade(value: object) -> Grade:
    """Turn what a grader returned into a grade.

    A `Grade` is kept as it is. True and False mean correct with score 1 and wrong with score 0. A
    number is the score: 1 or more is correct, 0 or less is wrong, anything between is partial.

    Raises:
        TypeError: if the value is none of these.
        ValueError: if the number is not finite.
    """
    if isinstance(value, Grade):
        return value
    if isinstance(value, bool | np.bool_):
        return Grade(Outcome.CORRECT, 1.0) if value else Grade(Outcome.WRONG, 0.0)
    if isinstance(value, Real):
        score = float(value)
        if score >= 1:
            return Grade(Outcome.CORRECT, score)
        return Grade(Outcome.WRONG if score <= 0 else Outcome.PARTIAL, score)
    raise TypeError(f"the grader returned {type(value).__name__}: return a bool, a number or a rewards.Grade")
