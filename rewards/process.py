"""One grader process, seen from its parent: it is started, asked, killed and replaced here."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from replay.records import Completion, Grade, Outcome, Problem
from rewards import worker
from rewards.config import RewardsConfig
from rewards.spawn import IsolatedContext

T = TypeVar("T")

# A process may have died while nobody asked it anything; the one that replaces it answers then.
_ATTEMPTS = 2


class GradingError(Exception):
    """A call ended without grades; `outcome` is `timeout` or `infrastructure_failure`."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


class ClosedError(RuntimeError):
    """The process was closed, before or during the call."""


class GraderProcess:
    """A process with the grader in it, and the next one whenever that had to be killed.

    It is a pebble pool of one. In a larger pool the processes share a pipe and its locks, so one that
    dies at the wrong moment stops the others; here it has only itself to lose.

    `start` and `grade` are called by one thread at a time, each of which lives until `close`: Linux
    kills a process when the thread that started it ends.
    """

    def __init__(self, config: RewardsConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._closed = False
        self._pool = self._new_pool()
        self._call: ProcessFuture | None = None

    def start(self) -> None:
        """Return when the process is ready to grade.

        Raises:
            RuntimeError: if the grader cannot be constructed or takes too long, with the cause.
        """
        try:
            self._ask(worker.wait_until_ready)
        except (worker.GraderUnavailableError, GradingError) as error:
            raise RuntimeError(f"rewards.grader={self._config.grader!r} does not start: {error}") from error

    def grade(self, problem: Problem, completions: Sequence[Completion]) -> tuple[Grade, ...]:
        """Grades of the first completions: of one at least, of all unless the grader is slow.

        A call starts on completions during the first half of `timeout_seconds`, so that the last of
        them has the other half to finish in, and a slow grader is asked again instead of killed.

        Raises:
            GradingError: if the process was killed at its time limit, or died.
            ClosedError: if `close` was called.
        """
        try:
            return self._ask(worker.grade, problem, tuple(completions), self._config.timeout_seconds / 2)
        except worker.GraderUnavailableError as error:
            self._replace()
            reason = f"the grader could not be constructed again: {error}"
            raise GradingError(Outcome.INFRASTRUCTURE_FAILURE, reason) from error

    def interrupt(self) -> None:
        """End the call in progress and refuse further ones; never blocks for long."""
        with self._lock:
            self._closed = True
            self._pool.stop()
            if self._call is not None:
                self._call.cancel()

    def close(self) -> None:
        """End the process, once no call is in progress any more."""
        self.interrupt()
        self._pool.join()

    def _ask(self, function: Callable[..., T], *args: object) -> T:
        cause = None
        for _ in range(_ATTEMPTS):
            try:
                return self._ask_once(function, args)
            except BrokenProcessPool as error:
                self._replace()
                cause = error
        reason = "the grader's process dies before it takes a call"
        raise GradingError(Outcome.INFRASTRUCTURE_FAILURE, reason) from cause

    def _ask_once(self, function: Callable[..., T], args: tuple[object, ...]) -> T:
        timeout = self._config.timeout_seconds
        call = self._schedule(function, args)
        # pebble's clock starts when the process takes the call, which it may have died without doing.
        limit = timeout + self._config.start_timeout_seconds
        try:
            result: T = call.result(limit)
            return result
        except TimeoutError as error:
            if call.done():
                reason = f"no grade within rewards.timeout_seconds={timeout:g}"
                raise GradingError(Outcome.TIMEOUT, reason) from error
            self._replace()
            reason = (
                f"the grader's process did not answer within {limit:g} seconds; if it only needs longer to "
                "start, raise rewards.start_timeout_seconds"
            )
            raise GradingError(Outcome.INFRASTRUCTURE_FAILURE, reason) from error
        except ProcessExpired as error:
            reason = f"the grader's process {self._cause_of_death(error.exitcode)}"
            raise GradingError(Outcome.INFRASTRUCTURE_FAILURE, reason) from error
        except CancelledError as error:
            raise ClosedError("the grader pool was closed during the call") from error

    def _schedule(self, function: Callable[..., object], args: tuple[object, ...]) -> ProcessFuture:
        with self._lock:
            if self._closed:
                raise ClosedError("the grader pool is closed")
            try:
                self._call = self._pool.schedule(function, args=args, timeout=self._config.timeout_seconds)
            except RuntimeError as error:
                raise BrokenProcessPool("the grader's process is gone") from error
            return self._call

    def _replace(self) -> None:
        self._pool.stop()
        self._pool.join()
        with self._lock:
            if not self._closed:
                self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=1,
            initializer=worker.initialize,
            initargs=(self._config, os.getpid()),
            context=IsolatedContext(),
        )

    def _cause_of_death(self, exit_code: int) -> str:
        if exit_code == worker.OUT_OF_MEMORY_EXIT:
            return f"reached rewards.memory_limit_mib={self._config.memory_limit_mib}"
        if exit_code < 0:
            return f"was killed by {signal.Signals(-exit_code).name}"
        return f"ended with exit code {exit_code}"
