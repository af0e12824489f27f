"""The pool with real processes, and with graders that hang, die, fail and hoard."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from replay.records import Completion, Grade, Outcome, Problem
from rewards import RewardsConfig
from rewards.pool import GraderPool

PROBLEM = Problem("p1", "test", "?", "5")
CORRECT, WRONG = Outcome.CORRECT, Outcome.WRONG


@pytest.fixture(scope="module")
def pool(grader_config: Callable[..., RewardsConfig]) -> Iterator[GraderPool]:
    """Shared by tests that each misbehave in it, which it must survive."""
    pool = GraderPool(grader_config())
    pool.start()
    yield pool
    pool.close()


@pytest.fixture
def grade(pool: GraderPool, completion: Callable[[str], Completion]) -> Callable[..., tuple[Grade, ...]]:
    return lambda *texts: asyncio.run(pool.grade(PROBLEM, [completion(text) for text in texts]))


def test_verdicts_come_back_in_order(grade) -> None:
    grades = grade("good", "bad", "half", "good")
    assert [each.outcome for each in grades] == [CORRECT, WRONG, Outcome.PARTIAL, CORRECT]
    assert [each.score for each in grades] == [1.0, 0.0, 0.5, 1.0]


def test_an_empty_group_has_no_grades(grade) -> None:
    assert grade() == ()


@pytest.mark.parametrize("hang", ["loop", "loop in C"])
def test_a_hang_costs_its_own_grade_and_no_other(grade, hang: str) -> None:
    grades = grade("good", hang, "bad", "good")
    assert [each.outcome for each in grades] == [CORRECT, Outcome.TIMEOUT, WRONG, CORRECT]
    assert grades[1].score is None
    assert "rewards.timeout_seconds=2" in grades[1].reason


@pytest.mark.parametrize(
    ("crime", "reason"),
    [
        ("exit", "exit code 3"),
        ("crash", "killed by SIGSEGV"),
        ("hog", "rewards.memory_limit_mib=1024"),
    ],
)
def test_a_dead_process_costs_its_own_grade_and_no_other(grade, crime: str, reason: str) -> None:
    grades = grade("bad", "good", crime, "good")
    assert [each.outcome for each in grades] == [WRONG, CORRECT, Outcome.INFRASTRUCTURE_FAILURE, CORRECT]
    assert reason in grades[2].reason


def test_a_process_that_leaves_with_exit_code_zero_is_not_waited_for_for_ever(grade) -> None:
    grades = grade("good", "exit as if all were well", "bad")
    assert [each.outcome.is_failure for each in grades] == [False, True, False]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [("raise", "KeyError: 'unit'"), ("quit", "SystemExit: enough"), ("no grade", "return a bool")],
)
def test_an_exception_costs_its_own_grade_and_not_the_process(grade, failure: str, reason: str) -> None:
    grades = grade("who", failure, "who")
    assert [each.outcome for each in grades] == [CORRECT, Outcome.GRADER_ERROR, CORRECT]
    assert reason in grades[1].reason
    assert grades[0].reason == grades[2].reason


def test_a_slow_grader_of_many_completions_is_asked_again_and_not_killed(grade, grader_processes) -> None:
    grade("good")
    before = grader_processes()
    grades = grade(*["slow"] * 8)
    assert {each.outcome for each in grades} == {CORRECT}
    assert set(grader_processes()) == set(before)


def test_all_processes_serve_after_many_were_killed(pool: GraderPool, completion) -> None:
    async def grade_all(groups: list[list[str]]) -> list[tuple[Grade, ...]]:
        calls = [pool.grade(PROBLEM, [completion(text) for text in group]) for group in groups]
        return await asyncio.gather(*calls)

    crimes = [["exit"], ["hog"], ["crash"], ["exit"], ["loop"], ["loop"]]
    grades = asyncio.run(grade_all(crimes + [["good", "bad"]] * 20))
    assert all(each.outcome.is_failure for (each,) in grades[:6])
    assert all([each.outcome for each in group] == [CORRECT, WRONG] for group in grades[6:])
    (one,), (other,) = asyncio.run(grade_all([["slow"], ["slow"]]))
    assert one.reason != other.reason  # graded side by side, by two processes


def test_processes_that_died_while_idle_are_replaced(grade, grader_processes) -> None:
    grade("good")
    before = grader_processes()
    for process in before:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its status is the pool's to collect
    for _ in range(4):
        assert grade("good")[0].outcome is CORRECT
    assert not set(before) & set(grader_processes())


def test_an_interrupt_from_the_terminal_is_left_to_the_parent(grade, grader_processes) -> None:
    grade("good")
    before = grader_processes()
    for process in before:
        process.send_signal(signal.SIGINT)
    assert [each.outcome for each in grade("good", "bad")] == [CORRECT, WRONG]
    assert set(grader_processes()) == set(before)


def test_the_event_loop_goes_on_while_a_grader_hangs(pool: GraderPool, completion) -> None:
    async def count_turns() -> int:
        grading = asyncio.create_task(pool.grade(PROBLEM, [completion("loop")]))
        turns = 0
        while not grading.done():
            await asyncio.sleep(0.01)
            turns += 1
        return turns

    assert asyncio.run(count_turns()) > 10


def test_a_cancelled_call_is_cancelled_and_the_pool_serves_on(pool: GraderPool, completion, grade) -> None:
    async def cancel() -> None:
        async with asyncio.timeout(0.1):
            await pool.grade(PROBLEM, [completion("loop")])

    with pytest.raises(TimeoutError):
        asyncio.run(cancel())
    assert [each.outcome for each in grade("good", "bad")] == [CORRECT, WRONG]


def test_a_grader_process_does_not_load_the_engines_and_trainers_libraries(grade) -> None:
    modules = set(grade("modules")[0].reason.split())
    assert "rewards.worker" in modules
    assert not {"torch", "transformers", "vllm", "ray", "deepspeed", "pytest"} & modules
