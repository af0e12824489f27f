"""What a batch is made of, in numbers: rewards, staleness, lengths and outcomes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from replay.records import Batch, FinishReason


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """Counts and means over the completions of one batch.

    Staleness is per token: the step, which equals the trainer's version, minus the token's version.
    Means over nothing are 0.
    """

    step: int
    groups: int
    completions: int
    tokens: int
    score_mean: float
    pass_rate: float
    staleness_sum: int
    staleness_max: int
    completions_spanning_versions: int
    groups_without_signal: int
    truncated: int
    outcomes: dict[str, int]


def summarise(batch: Batch) -> BatchSummary:
    """Count a batch; see `BatchSummary`."""
    completions = [completion for _, completion, _ in batch.samples()]
    grades = [grade for _, _, grade in batch.samples()]
    graded = [grade for grade in grades if not grade.outcome.is_failure]
    staleness = np.concatenate([batch.step - completion.versions for completion in completions])
    without_signal = sum(
        len({grade.score for grade in group.grades if not grade.outcome.is_failure}) < 2 for group in batch.groups
    )
    return BatchSummary(
        step=batch.step,
        groups=len(batch.groups),
        completions=len(completions),
        tokens=len(staleness),
        score_mean=float(np.mean([grade.score for grade in graded])) if graded else 0.0,
        pass_rate=sum(grade.is_correct for grade in graded) / len(graded) if graded else 0.0,
        staleness_sum=int(staleness.sum()),
        staleness_max=int(staleness.max(initial=0)),
        completions_spanning_versions=sum(len(completion.version_spans) > 1 for completion in completions),
        groups_without_signal=without_signal,
        truncated=sum(completion.finish_reason is FinishReason.LENGTH for completion in completions),
        outcomes=dict(Counter(str(grade.outcome) for grade in grades)),
    )
