"""Grade groups of completions in processes that can be killed, without blocking the event loop."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from replay.records import Completion, Grade, Problem
from rewards.config import RewardsConfig
from rewards.process import ClosedError, GraderProcess, GradingError


class GraderPool:
    """The grader processes beside one rollout worker.

    A group is graded in one call to one process. If that call is killed at its time limit, or its
    process dies, then every completion without a grade is graded by itself, so that a hang or a crash
    costs the grade of the completion that caused it and no other:

        grade(problem, [a, b, c]) ──▶ [a, b, c] ──▶ three grades
                                          └─ killed ──▶ [a] ──▶ correct
                                                        [b] ──▶ killed: timeout
                                                        [c] ──▶ wrong

    Every grade comes within a bound, and a killed process is replaced at once.
    """

    def __init__(self, config: RewardsConfig) -> None:
        self._processes = [GraderProcess(config) for _ in range(config.processes)]
        self._free: SimpleQueue[GraderProcess] = SimpleQueue()
        self._threads = ThreadPoolExecutor(config.processes, thread_name_prefix="grader")
        self._started = False
        self._closed = False

    def start(self) -> None:
        """Start all processes and return when each has constructed the grader; blocks meanwhile.

        Raises:
            RuntimeError: if the grader cannot be constructed within `start_timeout_seconds`, with the
                cause. No process is left.
        """
        starts = [self._threads.submit(process.start) for process in self._processes]
        try:
            for start in starts:
                start.result()
        except BaseException:
            self.close()
            raise
        for process in self._processes:
            self._free.put(process)
        self._started = True

    async def grade(self, problem: Problem, completions: Sequence[Completion]) -> tuple[Grade, ...]:
        """One grade per completion, in order; failures of grading are grades too.

        Raises:
            RuntimeError: if the pool is not started, or is closed before all are graded.
        """
        grades: list[Grade] = []
        while len(grades) < len(completions):
            remaining = completions[len(grades) :]
            try:
                grades += await self._ask(problem, remaining)
            except GradingError as error:
                if len(remaining) == 1:
                    grades.append(_failed(error))
                else:
                    grades += await asyncio.gather(*(self._grade_alone(problem, one) for one in remaining))
        return tuple(grades)

    def close(self) -> None:
        """End all processes, whatever they are doing, and return when they are gone.

        Calls of `grade` that are under way raise. This blocks for a moment, so a coroutine hands it to
        a thread.
        """
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.interrupt()
        self._threads.shutdown(wait=True)
        for process in self._processes:
            process.close()

    async def _grade_alone(self, problem: Problem, completion: Completion) -> Grade:
        try:
            (grade,) = await self._ask(problem, [completion])
        except GradingError as error:
            return _failed(error)
        return grade

    async def _ask(self, problem: Problem, completions: Sequence[Completion]) -> tuple[Grade, ...]:
        if self._closed:
            raise ClosedError("the grader pool is closed")
        if not self._started:
            raise RuntimeError("the grader pool is not started: call start() before grade()")
        call = self._threads.submit(self._ask_free_process, problem, completions)
        try:
            return await asyncio.wrap_future(call)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ClosedError("the grader pool was closed before the call") from None

    def _ask_free_process(self, problem: Problem, completions: Sequence[Completion]) -> tuple[Grade, ...]:
        process = self._free.get_nowait()  # there are as many threads as processes
        try:
            return process.grade(problem, completions)
        finally:
            self._free.put(process)


def _failed(error: GradingError) -> Grade:
    return Grade(error.outcome, None, str(error))
