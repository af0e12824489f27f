"""Grade mathematics: is the final answer equal to the reference answer?"""

import logging
import re
from functools import lru_cache
from typing import Any

from replay.records import Completion, Grade, Outcome, Problem
from rewards.extraction import AnswerFormat, extract_answer, no_answer

_PLAIN_INTEGER = re.compile(r"-?[0-9]{1,30}")
_PERCENTAGE = re.compile(r"(-?[0-9][0-9.,]*)\s*\\?%")


class MathVerifyGrader:
    r"""Compares answers with math-verify (https://github.com/huggingface/Math-Verify).

    Args:
        answer_format: `boxed` reads the last `\boxed{...}` of a completion, `tag` the last
            `<answer>...</answer>`.

    Calling it raises ValueError for a problem without a reference answer that math-verify can read.
    """

    def __init__(self, answer_format: AnswerFormat = "boxed") -> None:
        self.answer_format = answer_format
        # Every call hands over its time limit to the process that can be killed, and math-verify
        # would warn about that in every process.
        for module in ("grader", "parser"):
            logging.getLogger(f"math_verify.{module}").setLevel(logging.ERROR)
        _is_equal(r"\frac{1}{2}", "0.5")  # the first comparison loads sympy and compiles expressions

    def __call__(self, problem: Problem, completion: Completion) -> Grade:
        if problem.answer is None or not problem.answer.strip():
            raise ValueError(f"problem {problem.id!r} has no reference answer to compare with")
        answer = extract_answer(completion.text, self.answer_format)
        if answer is None:
            return no_answer(completion, self.answer_format)
        if _is_equal(problem.answer.strip(), answer):
            return Grade(Outcome.CORRECT, 1.0, f"equal to {problem.answer}", answer)
        return Grade(Outcome.WRONG, 0.0, f"not equal to {problem.answer}", answer)


def _is_equal(reference: str, answer: str) -> bool:
    # math-verify reads a plain integer as that integer and compares two of them exactly, so sympy
    # could only agree. Longer ones are left to it.
    if _PLAIN_INTEGER.fullmatch(reference) and _PLAIN_INTEGER.fullmatch(answer):
        return int(reference) == int(answer)
    return _is_verified(reference, answer)


def _is_verified(reference: str, answer: str) -> bool:
    import math_verify

    expected = _parse_reference(reference)
    if not expected:
        raise ValueError(f"math-verify finds no mathematics in the reference answer {reference!r}")
    # An answer that cannot be parsed or compared is one that is not equal, so errors stay inside.
    return bool(math_verify.verify(list(expected), _parse(answer), timeout_seconds=None))


@lru_cache(maxsize=1024)
def _parse_reference(reference: str) -> tuple[Any, ...]:
    return tuple(_parse(reference))


def _parse(answer: str) -> list[Any]:
    """What math-verify reads in one answer: an expression and its text, or nothing.

    Numbers are not searched in prose: "between 3 and 5" is no way to answer 5.
    """
    import math_verify

    latex = answer.removesuffix(".")
    percentage = _PERCENTAGE.fullmatch(latex)
    # math-verify reads a percent sign after mathematics, not inside.
    text = f"${percentage[1]}$%" if percentage else rf"\boxed{{{latex}}}"
    target = math_verify.LatexExtractionConfig(boxed_match_priority=0)
    parsed: list[Any] = math_verify.parse(text, [target], parsing_timeout=None)
    return parsed
