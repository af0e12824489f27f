"""pass@1 counts what could be graded, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

from inflight.compose import compose
from inflight.config import Config
from inflight.evaluation import pass_at_1
from inflight.failures import RunFailedError
from replay.records import Grade, Outcome, Problem
from rollout.config import SamplingConfig

CORRECT = Grade(Outcome.CORRECT, 1.0)
WRONG = Grade(Outcome.WRONG, 0.0)
PARTIAL = Grade(Outcome.PARTIAL, 0.9)
FAILED = Grade(Outcome.TIMEOUT, None, "took too long")


class Worker:
    """Answers every problem with the grades that are told by its prompt."""

    def __init__(self, answers: dict[str, tuple[Grade, ...]]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.calls: list[tuple[int, SamplingConfig]] = []

    @property
    def evaluate(self) -> Any:
        class Method:
            remote = staticmethod(self._evaluate)

        return Method

    async def _evaluate(
        self, problems: Sequence[Problem], n: int, sampling: SamplingConfig
    ) -> list[tuple[Grade, ...]]:
        self.asked += [problem.prompt for problem in problems]
        self.calls.append((n, sampling))
        return [self.answers[problem.prompt] for problem in problems]


@cache
def config(*overrides: str) -> Config:
    return compose(["experiment=quickstart", *overrides])


def measure(workers: Sequence[Any], prompts: Sequence[str], *overrides: str) -> float:
    problems = [Problem(f"test/{prompt}", "test", prompt) for prompt in prompts]
    return asyncio.run(pass_at_1(workers, problems, config(*overrides)))


def test_an_answer_whose_grading_failed_is_left_out_and_does_not_count_as_wrong() -> None:
    worker = Worker({"a": (CORRECT, FAILED, WRONG, CORRECT), "b": (WRONG, FAILED)})
    assert measure([worker], ["a", "b"]) == pytest.approx((2 / 3 + 0) / 2)


def test_a_problem_of_which_nothing_could_be_graded_is_left_out() -> None:
    worker = Worker({"a": (FAILED, FAILED), "b": (CORRECT, WRONG), "c": ()})
    assert measure([worker], ["a", "b", "c"]) == 0.5


def test_every_problem_weighs_the_same_however_many_answers_could_be_graded() -> None:
    worker = Worker({"a": (CORRECT,) * 8, "b": (WRONG, FAILED)})
    assert measure([worker], ["a", "b"]) == 0.5


def test_a_partly_right_answer_is_no_correct_one() -> None:
    assert measure([Worker({"a": (PARTIAL, CORRECT)})], ["a"]) == 0.5


def test_every_problem_is_asked_once_over_all_workers() -> None:
    prompts = [str(number) for number in range(7)]
    answers: dict[str, tuple[Grade, ...]] = {
        prompt: (CORRECT,) if int(prompt) % 2 else (WRONG,) for prompt in prompts
    }
    workers = [Worker(answers) for _ in range(3)]
    assert measure(workers, prompts) == pytest.approx(3 / 7)
    assert sorted(prompt for worker in workers for prompt in worker.asked) == prompts
    assert [len(worker.asked) for worker in workers] == [3, 2, 2]


def test_workers_without_a_problem_do_no_harm() -> None:
    assert measure([Worker({"a": (CORRECT,)}), Worker({})], ["a"]) == 1.0


def test_the_policy_is_asked_the_way_that_the_evaluation_says() -> None:
    worker = Worker({"a": (CORRECT,)})
    training = config().rollout.sampling
    measure([worker], ["a"], "evaluation.temperature=0.5", "evaluation.samples_per_problem=4")
    measure([worker], ["a"], "evaluation.max_tokens=17", "rollout.sampling.temperature=0.7")
    assert worker.calls == [
        (4, training.model_copy(update={"temperature": 0.5})),
        (1, training.model_copy(update={"temperature": 1.0, "max_tokens": 17})),
    ]


def test_an_evaluation_of_which_nothing_could_be_graded_is_an_error_and_not_zero() -> None:
    with pytest.raises(RunFailedError, match="no held-out answer could be graded"):
        measure([Worker({"a": (FAILED,), "b": (FAILED,)})], ["a", "b"])


def test_a_worker_that_never_answers_is_an_error_that_names_the_key() -> None:
    class Deaf(Worker):
        async def _evaluate(self, *arguments: Any) -> list[tuple[Grade, ...]]:
            await asyncio.Event().wait()
            return []

    with pytest.raises(
        TimeoutError, match=r"evaluation\.timeout_seconds 0\.5 passed before 2 held-out problems were answered"
    ):
        measure([Worker({"a": (CORRECT,)}), Deaf({})], ["a", "b"], "evaluation.timeout_seconds=0.5")
