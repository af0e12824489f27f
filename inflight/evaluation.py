"""pass@1 on held-out problems, on the training engines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from inflight.config import Config
from inflight.failures import RunFailedError
from replay.records import Problem


async def pass_at_1(rollouts: Sequence[Any], problems: Sequence[Problem], config: Config) -> float:
    """Mean over the problems of the share of correct samples; the problems are dealt to all workers.

    Completions whose grading failed are left out, and problems of which nothing could be graded.

    Raises:
        TimeoutError: if it takes longer than `evaluation.timeout_seconds`.
        RunFailedError: if nothing could be graded.
    """
    evaluation = config.evaluation
    sampling = config.rollout.sampling.model_copy(
        update={
            "temperature": evaluation.temperature,
            "max_tokens": evaluation.max_tokens or config.rollout.sampling.max_tokens,
        }
    )
    shares = [problems[number :: len(rollouts)] for number in range(len(rollouts))]
    try:
        async with asyncio.timeout(evaluation.timeout_seconds):
            answers = await asyncio.gather(
                *(
                    worker.evaluate.remote(share, evaluation.samples_per_problem, sampling)
                    for worker, share in zip(rollouts, shares, strict=True)
                )
            )
    except TimeoutError as error:
        raise TimeoutError(
            f"evaluation.timeout_seconds {evaluation.timeout_seconds:g} passed before "
            f"{len(problems)} held-out problems were answered"
        ) from error
    accuracies: list[float] = []
    for grades in (grades for share in answers for grades in share):
        graded = [grade.is_correct for grade in grades if not grade.outcome.is_failure]
        if graded:
            accuracies.append(sum(graded) / len(graded))
    if not accuracies:
        raise RunFailedError("no held-out answer could be graded; the grader's reasons are in the rollout logs")
    return sum(accuracies) / len(accuracies)
