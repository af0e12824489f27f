from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.config import CurriculumConfig
from curriculum.demonstrations import worked_solution, worked_solution_chain_sum
from curriculum.sources import load_problems

numbers = st.integers(-9, 9) | st.integers(-(10**6), 10**6)
later_terms = st.lists(st.tuples(st.sampled_from("+-"), numbers), max_size=7)


@settings(max_examples=3000, deadline=None)
@given(numbers, later_terms, st.sampled_from([" ", ""]))
def test_every_step_is_true_and_the_answer_is_right(first: int, later: list[tuple[str, int]], space: str) -> None:
    expression = str(first) + "".join(f"{space}{operator}{space}{term}" for operator, term in later)
    total = first
    *lines, last = worked_solution_chain_sum(expression).split("\n")
    assert len(lines) == len(later)
    for (operator, term), line in zip(later, lines, strict=True):
        statement, *steps, result = line.split(" ")
        total = total + term if operator == "+" else total - term
        assert int(result) == total
        shown = [statement, *(step for step in steps if step.endswith(":"))]
        assert all(_value(text.removesuffix(":")) == total for text in shown)
        columns = [step for step in steps if not step.endswith(":")]
        for column in columns:
            left, right = column.split("=")
            assert _value(left) == int(right)
        digits = [column.split("=")[1] for column in columns]
        written = digits[-1] + "".join(digit[-1] for digit in reversed(digits[:-1]))
        assert int(written) == abs(total)
    assert last == rf"\boxed{{{total}}}"


def _value(text: str) -> int:
    """The value of a sum of integers with brackets, which may have a minus sign before them."""
    bracket = re.fullmatch(r"-\((\d.*)\)", text)
    if bracket:
        return -_value(bracket.group(1))
    total = 0
    for sign, number in re.findall(r"(^|[+-])\(?(-?\d+)\)?", text):
        total += -int(number) if sign == "-" else int(number)
    return total


@pytest.mark.parametrize(
    ("expression", "solution"),
    [
        ("47 + 58", "47+58: 7+8=15 4+5+1=10 105\n\\boxed{105}"),
        ("1000 - 1", "1000-1: 10-1=9 10-0-1=9 10-0-1=9 1-0-1=0 999\n\\boxed{999}"),
        ("105 - 147", "105-147: -(147-105): 7-5=2 4-0=4 1-1=0 -42\n\\boxed{-42}"),
        ("-5 - -7", "-5-(-7): 7-5: 7-5=2 2\n\\boxed{2}"),
        ("5 - 5 - 3", "5-5: 5-5=0 0\n0-3: -(0+3): 0+3=3 -3\n\\boxed{-3}"),
        ("4", "\\boxed{4}"),
    ],
)
def test_the_written_form(expression: str, solution: str) -> None:
    assert worked_solution_chain_sum(expression) == solution


@pytest.mark.parametrize("expression", ["", "1 + ", "2 * 3", "1.5 + 2", "(1 + 2)", "1 2", "+1"])
def test_other_expressions_are_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="integers joined by"):
        worked_solution_chain_sum(expression)


@pytest.mark.parametrize("allow_negation", [False, True])
def test_real_problems_are_solved(allow_negation: bool) -> None:
    options = {"min_terms": 1, "max_digits": 6, "allow_negation": allow_negation}
    source = {"kind": "reasoning_gym", "dataset": "chain_sum", "size": 300, "options": options}
    for problem in load_problems(CurriculumConfig.model_validate({"source": source, "held_out": 0})):
        assert worked_solution(problem).endswith(rf"\boxed{{{problem.answer}}}")
    with pytest.raises(ValueError, match="does not make its answer 1000000000"):
        worked_solution(replace(problem, answer="1000000000"))


def test_problems_of_another_kind_are_refused() -> None:
    source = {"kind": "reasoning_gym", "dataset": "leg_counting", "size": 1}
    problem = load_problems(CurriculumConfig.model_validate({"source": source, "held_out": 0}))[0]
    with pytest.raises(ValueError, match="no worked solution is known"):
        worked_solution(problem)
