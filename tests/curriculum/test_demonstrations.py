import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.demonstrations import worked_chain_sum, worked_solution
from replay.records import Problem

TERMS = st.lists(st.tuples(st.sampled_from("+-"), st.integers(0, 999)), min_size=0, max_size=6)


def expression_of(first: int, rest: list[tuple[str, int]]) -> str:
    return " ".join([str(first), *(part for operator, term in rest for part in (operator, str(term)))])


@given(st.integers(-999, 999), TERMS)
def test_every_line_and_the_boxed_answer_are_right(first: int, rest: list[tuple[str, int]]) -> None:
    expression = expression_of(first, rest)
    *lines, answer = worked_chain_sum(expression).lstrip("\n").split("\n")
    assert answer == rf"\boxed{{{eval(expression)}}}"
    assert len(lines) == len(rest)
    total = first
    for line, (operator, term) in zip(lines, rest, strict=True):
        left, result = line.split(" = ")
        assert left == f"{total} {operator} {term}"
        total = int(result)
        assert total == eval(left)


@given(TERMS.filter(bool), st.integers(0, 2**32))
def test_a_slipping_teacher_is_wrong_in_every_operation_and_consistent_with_itself(
    rest: list[tuple[str, int]], seed: int
) -> None:
    solution = worked_chain_sum(expression_of(5, rest), slip_rate=1.0, random_source=random.Random(seed))
    *lines, answer = solution.lstrip("\n").split("\n")
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        left, result = line.split(" = ")
        assert 1 <= abs(eval(left) - int(result)) <= 2
        if following is not None:
            assert following.startswith(f"{result} ")
    assert answer == rf"\boxed{{{lines[-1].split(' = ')[1]}}}"


def test_the_slip_rate_is_that_of_single_operations() -> None:
    source = random.Random(3)
    lines = [
        line for _ in range(2000) for line in re.findall(r"(.+) = (.+)", worked_chain_sum("4 + 7 - 3", 0.3, source))
    ]
    slipped = sum(eval(left) != int(result) for left, result in lines) / len(lines)
    assert 0.27 < slipped < 0.33


@pytest.mark.parametrize("expression", ["", "4 +", "4 * 3", "four + 3", "4 + + 3", "(4 + 3)"])
def test_other_expressions_are_refused_with_an_example_of_what_is_expected(expression: str) -> None:
    with pytest.raises(ValueError, match=r"such as '47 \+ 58 - 9'"):
        worked_chain_sum(expression)


def test_slips_without_a_random_source_are_refused() -> None:
    with pytest.raises(ValueError, match="random_source"):
        worked_chain_sum("1 + 1", slip_rate=0.5)


def test_a_problem_whose_answer_disagrees_with_its_steps_is_refused() -> None:
    problem = Problem("p", "s", "1 + 1 =", "3", {"source_dataset": "chain_sum", "expression": "1 + 1"})
    with pytest.raises(ValueError, match="does not make its answer 3"):
        worked_solution(problem)


def test_a_problem_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="only for reasoning-gym's chain_sum"):
        worked_solution(Problem("p", "s", "2 * 3 =", "6", {"source_dataset": "products"}))
