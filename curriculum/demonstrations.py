"""Worked solutions to imitate before reinforcement starts.

A small model gets almost no sum right by itself, so all its groups score alike and nothing is learnt.
A few supervised steps on these texts give it the written method of column arithmetic to improve on.
"""

from __future__ import annotations

import re

from replay.records import Problem

_NUMBER = r"-?\d+"
_SUM = re.compile(rf"\s*{_NUMBER}(?:\s*[+-]\s*{_NUMBER})*\s*")
_LATER_TERM = re.compile(rf"([+-])\s*({_NUMBER})")


def worked_solution(problem: Problem) -> str:
    """Visible steps and the boxed answer of a reasoning-gym `chain_sum` problem.

    Raises:
        ValueError: if the problem is of another kind, or the steps do not lead to its answer.
    """
    expression = problem.metadata.get("expression")
    if problem.metadata.get("source_dataset") != "chain_sum" or not isinstance(expression, str):
        raise ValueError(
            f"no worked solution is known for problem {problem.id!r}: only for reasoning-gym's chain_sum"
        )
    solution = worked_solution_chain_sum(expression)
    if problem.answer is not None and not solution.endswith(rf"\boxed{{{problem.answer}}}"):
        raise ValueError(f"problem {problem.id!r}: {expression} does not make its answer {problem.answer}")
    return solution


def worked_solution_chain_sum(expression: str) -> str:
    r"""The expression worked out from the left, one line per operation, then the answer.

    Each line restates the operation, puts it in terms of magnitudes where signs require it, and works
    on the columns from the units up. In a sum the carry is the third summand of the next column; in a
    difference the minuend's digit is ten larger where it borrows and the next column subtracts 1 more:

        47+58: 7+8=15 4+5+1=10 105
        105-147: -(147-105): 7-5=2 4-0=4 1-1=0 -42
        \boxed{-42}

    Args:
        expression: integers joined by + and -, with or without spaces; each may carry a minus sign.

    Raises:
        ValueError: if the expression has any other form.
    """
    if not _SUM.fullmatch(expression):
        raise ValueError(f"expected integers joined by + and -, such as '47 + 58 - 9', got {expression!r}")
    first = re.match(rf"\s*({_NUMBER})", expression)
    assert first is not None
    total = int(first.group(1))
    lines = []
    for operator, digits in _LATER_TERM.findall(expression, first.end()):
        term = int(digits)
        lines.append(_operation(total, operator, term))
        total = total + term if operator == "+" else total - term
    return "\n".join([*lines, rf"\boxed{{{total}}}"])


def _operation(total: int, operator: str, term: int) -> str:
    signed = term if operator == "+" else -term
    result = total + signed
    larger, smaller = max(abs(total), abs(signed)), min(abs(total), abs(signed))
    if total * signed < 0:
        magnitude, columns = f"{larger}-{smaller}", _difference_columns(larger, smaller)
    else:
        magnitude, columns = f"{abs(total)}+{abs(signed)}", _sum_columns(abs(total), abs(signed))
    restated = f"-({magnitude})" if result < 0 else magnitude
    written = f"{total}{operator}{term}" if term >= 0 else f"{total}{operator}({term})"
    steps = [f"{written}:"] if restated == written else [f"{written}:", f"{restated}:"]
    return " ".join([*steps, *columns, str(result)])


def _columns(a: int, b: int) -> list[tuple[int, int]]:
    width = max(len(str(a)), len(str(b)))
    digits = (reversed(str(number).zfill(width)) for number in (a, b))
    return [(int(x), int(y)) for x, y in zip(*digits, strict=True)]


def _sum_columns(a: int, b: int) -> list[str]:
    steps, carry = [], 0
    for x, y in _columns(a, b):
        column = x + y + carry
        steps.append(f"{x}+{y}+1={column}" if carry else f"{x}+{y}={column}")
        carry = column // 10
    return steps


def _difference_columns(larger: int, smaller: int) -> list[str]:
    steps, borrow = [], 0
    for x, y in _columns(larger, smaller):
        minuend = x + 10 if x - y - borrow < 0 else x
        steps.append(f"{minuend}-{y}-1={minuend - y - 1}" if borrow else f"{minuend}-{y}={minuend - y}")
        borrow = int(minuend != x)
    return steps
