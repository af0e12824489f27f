import logging
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.records import FinishReason, Grade, Outcome, Problem
from rewards import math_verify_grader
from rewards.math_verify_grader import MathVerifyGrader

INTEGERS = st.integers(-(10**29), 10**29).map(str) | st.from_regex(r"-?[0-9]{1,30}", fullmatch=True)


@pytest.fixture(scope="module")
def grader() -> MathVerifyGrader:
    return MathVerifyGrader()


def problem(answer: str | None) -> Problem:
    return Problem("p1", "test", "?", answer)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("42", "42"),
        ("42", "042"),
        ("42", "42."),
        ("-7", "-7.0"),
        ("1234", "1,234"),
        ("1/2", r"\frac{1}{2}"),
        (r"\frac{3}{4}", "0.75"),
        ("x+1", "1+x"),
        ("5", r"x = 5"),
        ("5", r"5 \text{ cm}"),
        ("$5$", "5"),
        (r"\boxed{5}", "5"),
        (r"15\%", "15"),
        ("15", r"15\%"),
        ("50%", "0.5"),
        (r"\{1, 2\}", r"\{2, 1\}"),
        (r"\text{(A)}", "A"),
        ("[-2, 7]", "[-2,7]"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        ("1" + "0" * 40, "10^{40}"),
    ],
)
def test_equal_answers_are_correct_however_they_are_written(grader, completion, reference, answer) -> None:
    grade = grader(problem(reference), completion(rf"Thus \boxed{{{answer}}}."))
    assert (grade.outcome, grade.score, grade.extracted_answer) == (Outcome.CORRECT, 1.0, answer)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("42", "-42"),
        ("42", "43"),
        ("42", "420"),
        ("5", "5 or 6"),
        ("5", "5, 6"),
        ("5", r"5} \boxed{6"),
        ("5", "between 4 and 5"),
        ("5", "the answer is 5"),
        ("0", r"\frac{1}{0}"),
        ("5", r"\frac{"),
        ("5", "\N{ARABIC-INDIC DIGIT FIVE}"),
        (r"\frac{1}{3}", "0.33"),
    ],
)
def test_answers_that_hedge_or_differ_are_wrong(grader, completion, reference, answer) -> None:
    tagged = MathVerifyGrader(answer_format="tag")
    grade = tagged(problem(reference), completion(f"<answer>{answer}</answer>"))
    assert (grade.outcome, grade.score) == (Outcome.WRONG, 0.0)
    assert reference in grade.reason


def test_a_truncated_completion_has_no_answer_rather_than_a_wrong_one(grader, completion) -> None:
    grade = grader(problem("42"), completion("42, so the answer is", FinishReason.LENGTH))
    assert (grade.outcome, grade.score) == (Outcome.NO_ANSWER, 0.0)
    assert "token limit" in grade.reason


@pytest.mark.parametrize("answer", [None, "", " "])
def test_a_problem_without_reference_is_not_the_policys_fault(grader, completion, answer) -> None:
    with pytest.raises(ValueError, match="'p1' has no reference answer"):
        grader(problem(answer), completion(r"\boxed{1}"))


def test_a_reference_without_mathematics_is_not_the_policys_fault(grader, completion) -> None:
    with pytest.raises(ValueError, match="no mathematics in the reference"):
        grader(problem(r"\text{}"), completion(r"\boxed{1}"))


@settings(max_examples=150, deadline=None)
@given(INTEGERS, INTEGERS, st.booleans())
def test_the_short_cut_for_integers_agrees_with_math_verify(reference: str, other: str, same: bool) -> None:
    answer = reference.replace("-", "-0", 1) if same else other
    if math_verify_grader._PLAIN_INTEGER.fullmatch(answer):
        expected = math_verify_grader._is_verified(reference, answer)
        assert math_verify_grader._is_equal(reference, answer) is expected


def test_math_verify_is_not_asked_to_use_alarms(grader, completion) -> None:
    # Its own time limit raises off the main thread, where the exception once became "wrong".
    grades: list[Grade] = []
    call = threading.Thread(target=lambda: grades.append(grader(problem(r"\frac{1}{2}"), completion(r"\boxed{0.5}"))))
    call.start()
    call.join()
    assert grades[0].is_correct


def test_math_verify_does_not_warn_in_every_process(grader, completion, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        grader(problem(r"\frac{1}{7}"), completion(r"\boxed{\frac{2}{14}}"))
    assert not caplog.records
