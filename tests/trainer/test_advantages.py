from collections.abc import Sequence
from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_batches import FAILED, completion_of, group_of, scored

from replay.records import Batch, Grade, Outcome
from trainer.advantages import group_advantages
from trainer.sample import samples_of

SCORES = st.floats(-5, 5).map(lambda score: round(score, 4))
FAILURES = [Grade(outcome, None) for outcome in Outcome if outcome.is_failure]


def naive_advantages(scores: Sequence[float], divide_by_std: bool) -> list[float]:
    """In exact arithmetic, but for the root."""
    exact = [Fraction(score) for score in scores]
    mean = sum(exact) / len(exact)
    deviation = sqrt(sum((score - mean) ** 2 for score in exact) / max(1, len(exact) - 1))
    return [float(score - mean) / (deviation + 1e-6 if divide_by_std else 1.0) for score in exact]


@given(st.lists(SCORES, min_size=1, max_size=12), st.booleans())
def test_an_advantage_is_the_distance_from_the_mean_of_the_group(scores: list[float], divide_by_std: bool) -> None:
    advantages = group_advantages([scored(score) for score in scores], divide_by_std=divide_by_std)
    assert advantages.dtype == np.float64
    assert advantages.tolist() == pytest.approx(naive_advantages(scores, divide_by_std), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("divide_by_std", [True, False])
@given(score=st.floats(-1e6, 1e6), n=st.integers(1, 16))
def test_equal_scores_have_no_advantage_whatever_rounding_makes_of_their_mean(
    divide_by_std: bool, score: float, n: int
) -> None:
    assert not group_advantages([scored(score)] * n, divide_by_std=divide_by_std).any()


@pytest.mark.parametrize("n", range(1, 33))
def test_a_constant_reward_of_seven_tenths_has_no_advantage(n: int) -> None:
    assert not group_advantages([scored(0.7)] * n, divide_by_std=True).any()


def test_nearly_equal_scores_are_not_blown_up() -> None:
    scores = [0.3, 0.1 + 0.2, 0.3, 0.3]
    assert scores[0] != scores[1]
    assert np.abs(group_advantages([scored(score) for score in scores], divide_by_std=True)).max() < 1e-9


@given(st.lists(st.one_of(SCORES, st.sampled_from(FAILURES)), min_size=1, max_size=12), st.booleans())
def test_a_failed_grade_neither_counts_nor_shifts_the_mean(mixed: list[float | Grade], divide_by_std: bool) -> None:
    grades = [entry if isinstance(entry, Grade) else scored(entry) for entry in mixed]
    graded = [not grade.outcome.is_failure for grade in grades]
    alone = [grade for grade in grades if not grade.outcome.is_failure]
    advantages = group_advantages(grades, divide_by_std=divide_by_std)
    assert advantages.shape == (len(grades),)
    assert advantages[graded].tolist() == group_advantages(alone, divide_by_std=divide_by_std).tolist()
    assert not advantages[np.logical_not(graded)].any()


def test_a_completion_whose_grade_failed_is_not_trained_on() -> None:
    mask = [True, False, True]
    completions = [completion_of([5, 6, 7], [-1.0, -2.0, -3.0], mask) for _ in range(3)]
    group = group_of(0, [1, 2], completions, [scored(1.0), FAILED, scored(0.0)])
    samples = samples_of(Batch(0, (group,)), divide_by_std=False)
    assert [sample.loss_mask.tolist() for sample in samples] == [mask, [False] * 3, mask]
    assert [sample.advantage for sample in samples] == [0.5, 0.0, -0.5]
    assert [sample.trained_tokens for sample in samples] == [2, 0, 2]
    # The record itself is as it was.
    assert completions[1].loss_mask.tolist() == mask


def test_a_sample_is_prompt_and_completion_of_its_own_group() -> None:
    groups = tuple(
        group_of(
            7 + number,
            [number, 10 + number],
            [completion_of([20 + number], [-0.5]), completion_of([30 + number, 40], [-1.0, -1.5])],
            [scored(0.0), scored(float(number))],
        )
        for number in range(2)
    )
    samples = samples_of(Batch(0, groups), divide_by_std=True)
    assert [sample.token_ids.tolist() for sample in samples] == [
        [0, 10, 20],
        [0, 10, 30, 40],
        [1, 11, 21],
        [1, 11, 31, 40],
    ]
    assert [sample.group for sample in samples] == [0, 0, 1, 1]
    assert [sample.prompt_length for sample in samples] == [2, 2, 2, 2]
    assert [sample.behaviour_logprobs.tolist() for sample in samples[:2]] == [[-0.5], [-1.0, -1.5]]
    assert [sample.advantage for sample in samples[:2]] == [0.0, 0.0]
    assert samples[3].advantage == -samples[2].advantage > 0
