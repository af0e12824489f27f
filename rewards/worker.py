"""What runs inside a grader process.

The parent sends a problem and completions, and gets grades. The process ends itself when it has used
up its memory; for everything else that goes wrong with it, the parent ends it.
"""

import ctypes
import os
import signal
import sys
import time

from replay.records import Completion, Grade, Outcome, Problem
from rewards.config import RewardsConfig
from rewards.construction import construct_grader
from rewards.contract import Grader, as_grade

OUT_OF_MEMORY_EXIT = 86
"""Exit code of a process that reached `memory_limit_mib`."""

_PR_SET_PDEATHSIG = 1
_REASON_LENGTH = 500

_grader: Grader | None = None
_failure: Exception | None = None


class GraderUnavailableError(RuntimeError):
    """The grader could not be constructed in this process."""


def initialize(config: RewardsConfig, parent: int) -> None:
    """Limit the process and construct the grader.

    An exception of the grader's constructor is kept for the first call, which can send it to the parent.
    """
    global _grader, _failure
    # Ctrl-C is the parent's to handle. Being killed needs no clean-up here, and a handler written in
    # Python would wait for whatever the grader is doing.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        _die_with(parent)
        _limit_memory(config.memory_limit_mib)
    try:
        _grader = construct_grader(config.grader, config.options)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
        _failure = error


def wait_until_ready() -> None:
    """Return when the grader is constructed.

    Raises:
        GraderUnavailableError: if that failed, with the exception as its text.
    """
    _constructed()


def grade(problem: Problem, completions: tuple[Completion, ...], seconds: float) -> tuple[Grade, ...]:
    """Grade completions in order, and return after `seconds` with those that are done; at least one.

    Raises:
        GraderUnavailableError: if the grader could not be constructed.
    """
    grader = _constructed()
    end = time.monotonic() + seconds
    grades: list[Grade] = []
    for completion in completions:
        grades.append(_grade_one(grader, problem, completion))
        if time.monotonic() > end:
            break
    return tuple(grades)


def _constructed() -> Grader:
    if _grader is None:
        raise GraderUnavailableError(f"{type(_failure).__name__}: {_failure}") from _failure
    return _grader


def _grade_one(grader: Grader, problem: Problem, completion: Completion) -> Grade:
    try:
        return as_grade(grader(problem, completion))
    except MemoryError:
        # What filled the memory may be here to stay, so a new process takes over.
        os._exit(OUT_OF_MEMORY_EXIT)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the outcome says that grading failed
        reason = f"{type(error).__name__}: {error}"
        return Grade(Outcome.GRADER_ERROR, None, reason[:_REASON_LENGTH])


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the parent is gone, however that ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before it could be watched
        os._exit(1)


def _limit_memory(limit_mib: int | None) -> None:
    import resource

    if limit_mib is not None:
        # Data, not address space: libraries reserve far more addresses than they ever write to.
        limit = limit_mib * 2**20
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
