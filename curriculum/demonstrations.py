"""Worked solutions to imitate before reinforcement starts.

A model made from nothing gets no sum right, so all its groups score alike and nothing is learnt. A few
supervised steps on these texts give it the written method, and the slips of a fallible teacher, which
reinforcement then removes.
"""

from __future__ import annotations

import random
import re

from replay.records import Problem

_NUMBER = r"-?\d+"
_SUM = re.compile(rf"\s*{_NUMBER}(?:\s*[+-]\s*{_NUMBER})*\s*")
_LATER_TERM = re.compile(rf"([+-])\s*({_NUMBER})")
# A slip is a small miscount, as people make them.
_SLIPS = (-2, -1, 1, 2)


def worked_solution(problem: Problem, slip_rate: float = 0.0, random_source: random.Random | None = None) -> str:
    """Visible steps and the boxed answer of a reasoning-gym `chain_sum` problem.

    Args:
        problem: the question, with its expression in the metadata.
        slip_rate: probability that the result of an operation is off by one or two; the later steps and the
            answer go on from the wrong result.
        random_source: decides on slips; needed if `slip_rate` is above 0.

    Raises:
        ValueError: if the problem is of another kind, or the steps without slips do not lead to its answer.
    """
    expression = problem.metadata.get("expression")
    if problem.metadata.get("source_dataset") != "chain_sum" or not isinstance(expression, str):
        raise ValueError(
            f"no worked solution is known for problem {problem.id!r}: only for reasoning-gym's chain_sum"
        )
    right = worked_chain_sum(expression)
    if problem.answer is not None and not right.endswith(rf"\boxed{{{problem.answer}}}"):
        raise ValueError(f"problem {problem.id!r}: {expression} does not make its answer {problem.answer}")
    return worked_chain_sum(expression, slip_rate, random_source) if slip_rate > 0 else right


def worked_chain_sum(expression: str, slip_rate: float = 0.0, random_source: random.Random | None = None) -> str:
    r"""The expression worked out from the left, one operation per line, then the answer.

    `4 + 7 - 13` becomes

        4 + 7 = 11
        11 - 13 = -2
        \boxed{-2}

    with a line break before every line, since the question ends with an equals sign. Spacing follows the
    question's, so that operators and numbers are the same tokens in both.

    Raises:
        ValueError: if the expression is not integers joined by + and -, or slips have no random source.
    """
    if not _SUM.fullmatch(expression):
        raise ValueError(f"expected integers joined by + and -, such as '47 + 58 - 9', got {expression!r}")
    if slip_rate > 0 and random_source is None:
        raise ValueError("a slip_rate above 0 needs a random_source")
    first = re.match(rf"\s*({_NUMBER})", expression)
    assert first is not None
    total = int(first.group(1))
    lines = []
    for operator, digits in _LATER_TERM.findall(expression, first.end()):
        term = int(digits)
        result = total + term if operator == "+" else total - term
        if random_source is not None and random_source.random() < slip_rate:
            result += random_source.choice(_SLIPS)
        lines.append(f"\n{total} {operator} {term} = {result}")
        total = result
    return "".join(lines) + f"\n\\boxed{{{total}}}"
