"""Grade the tasks of reasoning-gym with the scorer that belongs to each of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from replay.records import Completion, Grade, Problem
from rewards.contract import as_grade
from rewards.extraction import AnswerFormat, extract_answer, no_answer

# JSON turned the boards of these tasks into lists, and their scorers compare them with tuples.
_BOARD_TASKS = frozenset({"arc_agi", "rearc"})


class ReasoningGymGrader:
    r"""Scores answers with reasoning-gym (https://github.com/open-thought/reasoning-gym).

    A problem carries its task's metadata in `problem.metadata`, with the name of the task under
    `source_dataset` and, where the prompt says more than the question, the question under `question`.
    Many of the scorers give a little, such as 0.01, to a wrong answer of the right form; such a score
    is kept, as a partial grade.

    Args:
        answer_format: `boxed` reads the last `\boxed{...}` of a completion, `tag` the last
            `<answer>...</answer>`.

    Calling it raises ValueError for a problem that comes from no known task.
    """

    def __init__(self, answer_format: AnswerFormat = "boxed") -> None:
        import reasoning_gym  # noqa: F401 - takes a second, which the first grade should not pay

        self.answer_format = answer_format

    def __call__(self, problem: Problem, completion: Completion) -> Grade:
        task = problem.metadata.get("source_dataset")
        if not isinstance(task, str):
            raise ValueError(
                f"problem {problem.id!r} names no reasoning-gym task: its metadata must be that of "
                "the task's entry, with the task's name under 'source_dataset'"
            )
        answer = extract_answer(completion.text, self.answer_format)
        if answer is None:
            return no_answer(completion, self.answer_format)
        score = _scorer(task)(answer, _entry(problem, task))
        return replace(as_grade(score), reason=f"{task} scores it {score:g}", extracted_answer=answer)


def _entry(problem: Problem, task: str) -> dict[str, Any]:
    """The problem as reasoning-gym made it."""
    metadata = dict(problem.metadata)
    if task in _BOARD_TASKS:
        metadata["output"] = tuple(tuple(row) for row in metadata["output"])
    return {
        "question": metadata.get("question", problem.prompt),
        "answer": problem.answer,
        "metadata": metadata,
    }


@lru_cache(maxsize=256)
def _scorer(task: str) -> Callable[[str, dict[str, Any]], float]:
    """The scorer of a task, kept because making one reads the task's data files."""
    import reasoning_gym

    scorer: Callable[[str, dict[str, Any]], float] = reasoning_gym.get_score_answer_fn(task)
    return scorer
