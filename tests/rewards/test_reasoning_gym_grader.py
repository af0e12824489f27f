import json

import pytest
import reasoning_gym

from replay.records import Completion, Outcome, Problem
from rewards.reasoning_gym_grader import ReasoningGymGrader


@pytest.fixture(scope="module")
def grader() -> ReasoningGymGrader:
    return ReasoningGymGrader(answer_format="tag")


def make_problem(task: str) -> Problem:
    """A problem as the ledger hands it out: its metadata has been JSON."""
    entry = reasoning_gym.create_dataset(task, size=1, seed=7)[0]
    metadata = json.loads(json.dumps({**entry["metadata"], "question": entry["question"]}))
    return Problem("g1", "reasoning_gym", f"Think. {entry['question']}", entry["answer"], metadata)


# The last two compare boards of tuples, which JSON has no word for; the first three have scorers of
# their own, which read the metadata.
@pytest.mark.parametrize("task", ["chain_sum", "countdown", "word_ladder", "arc_agi", "rearc"])
def test_the_reference_answer_is_correct_after_a_trip_through_the_ledger(grader, completion, task) -> None:
    problem = make_problem(task)
    grade = grader(problem, completion(f"<answer>{problem.answer}</answer>"))
    assert (grade.outcome, grade.score) == (Outcome.CORRECT, 1.0)
    assert grade.extracted_answer == problem.answer


def test_partial_credit_is_kept(grader, completion) -> None:
    problem = make_problem("countdown")
    grade = grader(problem, completion("<answer>1 + 1</answer>"))
    assert grade.outcome is Outcome.PARTIAL
    assert grade.score is not None
    assert 0 < grade.score < 1
    assert "countdown" in grade.reason


def test_a_wrong_answer_is_wrong(grader, completion) -> None:
    grade = grader(make_problem("chain_sum"), completion("<answer>no idea</answer>"))
    assert (grade.outcome, grade.score) == (Outcome.WRONG, 0.0)


def test_a_completion_without_answer_is_not_scored(grader, completion: Completion) -> None:
    assert grader(make_problem("chain_sum"), completion("no idea")).outcome is Outcome.NO_ANSWER


@pytest.mark.parametrize(
    ("metadata", "message"), [({}, "'source_dataset'"), ({"source_dataset": "sudokku"}, "sudokku")]
)
def test_a_problem_of_no_known_task_is_not_the_policys_fault(grader, completion, metadata, message) -> None:
    with pytest.raises(ValueError, match=message):
        grader(Problem("g1", "test", "?", "1", metadata), completion("<answer>1</answer>"))
