import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.microbatches import plan_microbatches

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=60)
BUDGETS = st.integers(1, 400)
RANKS = st.integers(1, 6)


@given(LENGTHS, BUDGETS, RANKS)
def test_every_sample_is_computed_exactly_once(lengths: list[int], budget: int, ranks: int) -> None:
    plan = plan_microbatches(lengths, budget, ranks)
    assert len(plan) == ranks
    assert sorted(index for share in plan for microbatch in share for index in microbatch) == list(
        range(len(lengths))
    )


@given(LENGTHS, BUDGETS, RANKS)
def test_a_padded_micro_batch_stays_within_the_budget(lengths: list[int], budget: int, ranks: int) -> None:
    for share in plan_microbatches(lengths, budget, ranks):
        for microbatch in share:
            padded = len(microbatch) * max((lengths[index] for index in microbatch), default=0)
            assert padded <= budget or len(microbatch) == 1


@given(LENGTHS, BUDGETS, RANKS)
def test_no_rank_waits_for_another_in_a_collective(lengths: list[int], budget: int, ranks: int) -> None:
    plan = plan_microbatches(lengths, budget, ranks)
    assert len({len(share) for share in plan}) == 1
    # Empty ones only where samples are too few to go round, and then at the end.
    everything = [microbatch for share in plan for microbatch in share]
    if not all(everything):
        assert all(len(microbatch) <= 1 for microbatch in everything)
        assert len(plan[0]) == math.ceil(len(lengths) / ranks)
        assert all(microbatch for share in plan for microbatch in share[:-1])


@given(st.lists(st.integers(1, 60), min_size=6, max_size=60), st.integers(60, 100_000), RANKS)
def test_no_rank_is_idle_while_another_has_two_samples(lengths: list[int], budget: int, ranks: int) -> None:
    plan = plan_microbatches(lengths, budget, ranks)
    assert all(any(share) for share in plan)


@given(st.integers(1, 40), st.integers(1, 200), BUDGETS, RANKS)
def test_equal_samples_are_dealt_evenly(length: int, samples: int, budget: int, ranks: int) -> None:
    counts = [sum(map(len, share)) for share in plan_microbatches([length] * samples, budget, ranks)]
    largest = max(1, budget // length)
    assert max(counts) - min(counts) <= largest


@given(LENGTHS, BUDGETS)
def test_no_micro_batch_more_than_the_budget_needs(lengths: list[int], budget: int) -> None:
    (share,) = plan_microbatches(lengths, budget, 1)
    for number, microbatch in enumerate(share):
        for other in share[number + 1 :]:
            longest = max(lengths[index] for index in (*microbatch, *other))
            assert longest * (len(microbatch) + len(other)) > budget


def test_a_long_sample_does_not_pad_short_ones() -> None:
    (share,) = plan_microbatches([3, 100, 3, 100, 3], 200, 1)
    assert sorted(sorted(microbatch) for microbatch in share) == [[0, 2, 4], [1, 3]]


def test_the_rank_with_a_long_sample_gets_less_of_the_rest() -> None:
    plan = plan_microbatches([100, 40, 30, 20], 1, 2)
    assert plan == [[[0], [3]], [[1], [2]]]


def test_the_costliest_micro_batch_is_halved_for_a_rank_without_work() -> None:
    plan = plan_microbatches([10] * 8, 60, 3)
    assert sorted(len(microbatch) for share in plan for microbatch in share) == [2, 3, 3]


def test_nothing_to_plan_for_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        plan_microbatches([], 10, 1)
