"""Batches of random tokens whose groups have what real ones have: uneven lengths, failures, masked tokens."""

from collections.abc import Sequence

import numpy as np

from replay.records import Batch, Completion, FinishReason, Grade, Group, Outcome, Problem, VersionSpan

FAILED = Grade(Outcome.GRADER_ERROR, None)


def scored(score: float) -> Grade:
    outcome = Outcome.CORRECT if score >= 1 else Outcome.WRONG if score <= 0 else Outcome.PARTIAL
    return Grade(outcome, score)


def completion_of(
    token_ids: Sequence[int], logprobs: Sequence[float], loss_mask: Sequence[bool] | None = None
) -> Completion:
    length = len(token_ids)
    return Completion(
        token_ids=np.array(token_ids, dtype=np.int32),
        logprobs=np.array(logprobs, dtype=np.float32),
        version_spans=(VersionSpan(0, 0, length),) if length else (),
        finish_reason=FinishReason.STOP,
        loss_mask=np.array([True] * length if loss_mask is None else loss_mask, dtype=np.bool_),
        text="",
    )


def group_of(number: int, prompt: Sequence[int], completions: Sequence[Completion], grades: Sequence[Grade]) -> Group:
    return Group(
        id=number,
        problem=Problem(id=f"problem-{number}", source="random", prompt=""),
        prompt_token_ids=np.array(prompt, dtype=np.int32),
        completions=tuple(completions),
        grades=tuple(grades),
        lease_version=0,
    )


def random_batch(step: int, *, vocabulary: int, groups: int = 4, n: int = 4, longest: int = 30) -> Batch:
    """Reproducible from `step`. The first group's scores are equal, the second has a failed grade."""
    random = np.random.default_rng(100 + step)
    made = []
    for number in range(groups):
        completions = []
        for _ in range(n):
            length = int(random.integers(1, longest + 1))
            completions.append(
                completion_of(
                    random.integers(2, vocabulary, length).tolist(),
                    # Near the logprob of a uniform policy, so that some weights are cut off and most are not.
                    (random.normal(-np.log(vocabulary), 1.0, length)).tolist(),
                    (random.random(length) < 0.9).tolist(),
                )
            )
        grades = [scored(float(score)) for score in random.choice([0.0, 0.3, 1.0], n)]
        if number == 0:
            grades = [scored(0.7)] * n
        if number == 1:
            grades[1] = FAILED
        prompt = random.integers(2, vocabulary, int(random.integers(1, 9))).tolist()
        made.append(group_of(number, prompt, completions, grades))
    return Batch(step, tuple(made))
