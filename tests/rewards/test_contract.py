import numpy as np
import pytest

from rewards import Grade, Outcome, as_grade


@pytest.mark.parametrize(
    ("value", "outcome", "score"),
    [
        (True, Outcome.CORRECT, 1.0),
        (False, Outcome.WRONG, 0.0),
        (np.True_, Outcome.CORRECT, 1.0),
        (np.False_, Outcome.WRONG, 0.0),
        (1, Outcome.CORRECT, 1.0),
        (1.5, Outcome.CORRECT, 1.5),
        (0.01, Outcome.PARTIAL, 0.01),
        (np.float32(0.5), Outcome.PARTIAL, 0.5),
        (0.0, Outcome.WRONG, 0.0),
        (-1.0, Outcome.WRONG, -1.0),
    ],
)
def test_a_score_keeps_its_value_and_gets_an_outcome(value: object, outcome: Outcome, score: float) -> None:
    grade = as_grade(value)
    assert (grade.outcome, grade.score) == (outcome, score)
    assert type(grade.score) is float


def test_a_grade_passes_through_untouched() -> None:
    grade = Grade(Outcome.BAD_FORMAT, -0.5, "two answers", "1 or 2")
    assert as_grade(grade) is grade


@pytest.mark.parametrize("value", [None, "correct", [1.0], 1j])
def test_a_value_that_is_no_verdict_is_refused_and_not_taken_for_wrong(value: object) -> None:
    with pytest.raises(TypeError, match=r"return a bool, a number or a rewards\.Grade"):
        as_grade(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        as_grade(value)
