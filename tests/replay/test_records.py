from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from finished_groups import CORRECT, FAILED, WRONG, completion, problems
from hypothesis import given
from hypothesis import strategies as st

from replay.records import Batch, Completion, FinishReason, Grade, Group, Outcome, VersionSpan


def completion_of(length: int, **changes: Any) -> Completion:
    fields: dict[str, Any] = {
        "token_ids": np.zeros(length, dtype=np.int32),
        "logprobs": np.zeros(length, dtype=np.float32),
        "version_spans": (VersionSpan(0, 0, length),) if length else (),
        "finish_reason": FinishReason.STOP,
        "loss_mask": np.ones(length, dtype=np.bool_),
        "text": "",
    }
    return Completion(**(fields | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"logprobs": np.zeros(3, dtype=np.float32)},
        {"loss_mask": np.ones(5, dtype=np.bool_)},
        {"token_ids": np.zeros(3, dtype=np.int32)},
    ],
    ids=["logprobs", "loss mask", "tokens"],
)
def test_a_token_without_a_logprob_or_a_mask_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one entry per token"):
        completion_of(4, **changes)


@pytest.mark.parametrize(
    ("spans", "complaint"),
    [
        ([], "end at token 0 of 4"),
        ([(0, 0, 3)], "end at token 3 of 4"),
        ([(0, 0, 5)], "end at token 5 of 4"),
        ([(0, 1, 4)], "gap or overlap at token 0"),
        ([(0, 0, 2), (1, 3, 4)], "gap or overlap at token 2"),
        ([(0, 0, 3), (1, 2, 4)], "gap or overlap at token 3"),
        ([(0, 0, 2), (1, 2, 2), (2, 2, 4)], "gap or overlap at token 2"),
        ([(1, 2, 4), (0, 0, 2)], "gap or overlap at token 0"),
    ],
)
def test_a_token_without_a_version_or_with_two_is_refused(spans: list[tuple[int, int, int]], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        completion_of(4, version_spans=tuple(VersionSpan(*span) for span in spans))


def test_an_empty_completion_may_exist_but_not_have_a_version() -> None:
    assert len(completion_of(0)) == len(completion_of(0).versions) == 0
    with pytest.raises(ValueError, match="gap or overlap"):
        completion_of(0, version_spans=(VersionSpan(0, 0, 0),))


@given(st.lists(st.integers(0, 5), max_size=20))
def test_every_token_has_the_version_of_its_own_span(versions: list[int]) -> None:
    found = completion(versions).versions
    assert found.tolist() == versions
    assert found.dtype == np.int32


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.GRADER_ERROR, Outcome.INFRASTRUCTURE_FAILURE])
def test_a_failed_grader_cannot_have_an_opinion(outcome: Outcome) -> None:
    assert Grade(outcome, None).score is None
    assert not Grade(outcome, None).is_correct
    with pytest.raises(ValueError, match="failures carry no score"):
        Grade(outcome, 0.0)


@pytest.mark.parametrize(
    "outcome", [Outcome.CORRECT, Outcome.WRONG, Outcome.PARTIAL, Outcome.NO_ANSWER, Outcome.BAD_FORMAT]
)
def test_a_verdict_without_a_usable_score_is_refused(outcome: Outcome) -> None:
    assert Grade(outcome, 0.5).is_correct is (outcome is Outcome.CORRECT)
    with pytest.raises(ValueError, match="every other outcome carries one"):
        Grade(outcome, None)
    for score in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(ValueError, match="must be finite"):
            Grade(outcome, score)


def group_of(*grades: Grade, lengths: tuple[int, ...] | None = None) -> Group:
    completions = tuple(completion([0] * length) for length in lengths or (2,) * len(grades))
    return Group(3, problems(1)[0], np.zeros(1, dtype=np.int32), completions, grades, 0)


def test_a_group_without_completions_or_with_ungraded_ones_is_refused() -> None:
    with pytest.raises(ValueError, match="group 3 has 0 completions and 0 grades"):
        group_of()
    with pytest.raises(ValueError, match="group 3 has 2 completions and 1 grades"):
        group_of(CORRECT, lengths=(1, 1))


def test_a_grader_that_fails_does_not_lower_the_accuracy() -> None:
    assert group_of(CORRECT, WRONG, FAILED).accuracy == 0.5
    assert group_of(CORRECT, FAILED, FAILED).accuracy == 1.0
    assert group_of(WRONG, WRONG).accuracy == 0.0
    assert group_of(FAILED, FAILED).accuracy is None


def test_partial_credit_is_not_counted_as_correct() -> None:
    assert group_of(Grade(Outcome.PARTIAL, 0.9), CORRECT).accuracy == 0.5


def test_a_batch_gives_every_completion_with_its_own_group_and_grade() -> None:
    groups = (group_of(CORRECT, WRONG, lengths=(1, 4)), group_of(FAILED, lengths=(2,)))
    samples = list(Batch(0, groups).samples())
    assert [group for group, _, _ in samples] == [groups[0], groups[0], groups[1]]
    assert [len(completion) for _, completion, _ in samples] == [1, 4, 2]
    assert [grade for _, _, grade in samples] == [CORRECT, WRONG, FAILED]
    assert [group.completion_tokens for group in groups] == [5, 2]
