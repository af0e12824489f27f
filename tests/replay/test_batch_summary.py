from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from finished_groups import CORRECT, FAILED, WRONG, completion, problems
from hypothesis import given
from hypothesis import strategies as st

from replay.batch_summary import summarise
from replay.records import Batch, FinishReason, Grade, Group, Outcome

GRADES = [CORRECT, WRONG, FAILED, Grade(Outcome.PARTIAL, 0.5), Grade(Outcome.GRADER_ERROR, None)]
STEP = 5

# Version of every token, finish reason, grade.
Sample = tuple[list[int], FinishReason, Grade]


def group(number: int, samples: list[Sample]) -> Group:
    completions = tuple(completion(versions, finish_reason=reason) for versions, reason, _ in samples)
    grades = tuple(grade for _, _, grade in samples)
    return Group(number, problems(1)[0], np.zeros(1, dtype=np.int32), completions, grades, lease_version=0)


samples = st.tuples(
    st.lists(st.integers(0, STEP), max_size=6), st.sampled_from(FinishReason), st.sampled_from(GRADES)
)


@given(st.lists(st.lists(samples, min_size=1, max_size=4), min_size=1, max_size=4))
def test_the_numbers_of_a_batch_are_those_of_a_plain_loop(batch: list[list[Sample]]) -> None:
    completions = tokens = graded = correct = staleness_sum = staleness_max = spanning = truncated = silent = 0
    score = 0.0
    outcomes: dict[str, int] = {}
    for members in batch:
        scores = []
        for versions, reason, grade in members:
            completions += 1
            truncated += reason == "length"
            outcomes[grade.outcome.value] = outcomes.get(grade.outcome.value, 0) + 1
            changes = 0
            for place, version in enumerate(versions):
                tokens += 1
                staleness_sum += STEP - version
                staleness_max = max(staleness_max, STEP - version)
                changes += place > 0 and version != versions[place - 1]
            spanning += changes > 0
            if grade.score is not None:
                graded += 1
                correct += grade.outcome == "correct"
                score += grade.score
                scores.append(grade.score)
        silent += len(scores) == 0 or all(other == scores[0] for other in scores)
    summary = summarise(Batch(STEP, tuple(group(number, members) for number, members in enumerate(batch))))
    assert dataclasses.asdict(summary) == {
        "step": STEP,
        "groups": len(batch),
        "completions": completions,
        "tokens": tokens,
        "score_mean": pytest.approx(score / graded if graded else 0.0),
        "pass_rate": pytest.approx(correct / graded if graded else 0.0),
        "staleness_sum": staleness_sum,
        "staleness_max": staleness_max,
        "completions_spanning_versions": spanning,
        "groups_without_signal": silent,
        "truncated": truncated,
        "outcomes": outcomes,
    }


def test_staleness_is_counted_per_token_and_not_per_completion() -> None:
    stale = [3, 3, 3, 3, 5]
    summary = summarise(Batch(STEP, (group(0, [(stale, FinishReason.STOP, CORRECT)]),)))
    assert (summary.staleness_sum, summary.staleness_max, summary.completions_spanning_versions) == (8, 2, 1)


def test_a_grader_that_fails_does_not_lower_the_reward() -> None:
    failed = [([5], FinishReason.STOP, grade) for grade in (CORRECT, FAILED, FAILED)]
    summary = summarise(Batch(STEP, (group(0, failed),)))
    assert (summary.score_mean, summary.pass_rate, summary.groups_without_signal) == (1.0, 1.0, 1)


def test_a_batch_of_which_nothing_could_be_graded_has_numbers_too() -> None:
    summary = summarise(Batch(STEP, (group(0, [([], FinishReason.ABORT, FAILED)]),)))
    assert (summary.score_mean, summary.pass_rate, summary.staleness_max, summary.tokens) == (0.0, 0.0, 0, 0)


def test_the_numbers_can_be_written_as_json() -> None:
    summary = summarise(Batch(STEP, (group(0, [([4, 5], FinishReason.LENGTH, WRONG)]),)))
    kinds = {type(value) for value in dataclasses.asdict(summary).values()}
    assert kinds == {int, float, dict}
    assert {type(name) for name in summary.outcomes} == {str}
