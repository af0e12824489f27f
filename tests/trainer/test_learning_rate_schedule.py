import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import OptimizerConfig
from trainer.schedule import learning_rate_factor


def factors(schedule: str, warmup_steps: int, total: int, steps: int | None = None) -> list[float]:
    config = OptimizerConfig.model_validate(
        {"learning_rate": 1.0, "schedule": schedule, "warmup_steps": warmup_steps}
    )
    return [learning_rate_factor(config, step, total) for step in range(total if steps is None else steps)]


def test_the_first_step_is_not_lost_to_a_rate_of_0_and_the_last_of_the_warm_up_has_the_peak() -> None:
    assert factors("constant", 4, 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert factors("constant", 0, 3) == [1.0, 1.0, 1.0]
    assert factors("constant", 1, 3) == [1.0, 1.0, 1.0]


def test_a_linear_course_has_equal_steps_and_ends_one_short_of_0() -> None:
    assert factors("linear", 2, 6) == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_a_cosine_course_passes_through_its_known_values() -> None:
    assert factors("cosine", 0, 6) == pytest.approx([1.0, 0.5 + 3**0.5 / 4, 0.75, 0.5, 0.25, 0.5 - 3**0.5 / 4])


@given(st.sampled_from(["constant", "linear", "cosine"]), st.integers(0, 30), st.integers(1, 30))
def test_no_rate_is_negative_above_the_peak_or_0_before_the_end(schedule: str, warmup_steps: int, total: int) -> None:
    course = factors(schedule, warmup_steps, total, steps=total + 10)
    assert all(0 < factor <= 1 for factor in course[:total])
    assert all(0 <= factor <= 1 for factor in course[total:])
    fall = course[max(0, warmup_steps - 1) :]
    assert fall == sorted(fall, reverse=True)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_does_not_rise_again_past_the_end(schedule: str) -> None:
    assert factors(schedule, 2, 10, steps=30)[10:] == pytest.approx([0.0] * 20)
