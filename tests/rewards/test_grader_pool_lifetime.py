"""No grader process is left behind: not by a failed start, a close, a crash or a forgotten pool."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from replay.records import Outcome, Problem
from rewards.pool import GraderPool

PLUG_IN = Path(__file__).with_name("misbehaving_grader.py")
UNREADY = f"{PLUG_IN}:Unready"
PROBLEM = Problem("p1", "test", "?", "5")


def test_a_grader_that_cannot_be_constructed_stops_the_start_with_its_error(grader_config, grader_processes) -> None:
    pool = GraderPool(grader_config(grader=UNREADY, options={"how": "raise"}))
    with pytest.raises(RuntimeError, match=r"Unready' does not start: FileNotFoundError: no such model"):
        pool.start()
    assert grader_processes() == []


def test_a_grader_that_is_never_ready_stops_the_start_at_its_own_limit(grader_config, grader_processes) -> None:
    pool = GraderPool(
        grader_config(
            grader=UNREADY,
            options={"how": "wait"},
            timeout_seconds=0.1,
            start_timeout_seconds=1.5,
        )
    )
    with pytest.raises(RuntimeError, match=r"rewards\.start_timeout_seconds"):
        pool.start()
    assert grader_processes() == []


def test_grading_before_the_start_or_after_the_end_says_so(grader_config, grader_processes, completion) -> None:
    pool = GraderPool(grader_config(processes=1))
    with pytest.raises(RuntimeError, match="call start"):
        asyncio.run(pool.grade(PROBLEM, [completion("good")]))
    pool.start()
    pool.close()
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(pool.grade(PROBLEM, [completion("good")]))


def test_closing_ends_calls_that_hang_and_calls_that_wait(grader_config, grader_processes, completion) -> None:
    pool = GraderPool(grader_config(processes=1, timeout_seconds=600))
    pool.start()

    async def close_while_grading() -> list[Any]:
        calls = [asyncio.create_task(pool.grade(PROBLEM, [completion("loop")] * 2)) for _ in range(3)]
        await asyncio.sleep(0)  # let each hand over its call
        await asyncio.to_thread(pool.close)
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(close_while_grading())
    assert [type(result).__name__ for result in results] == ["ClosedError"] * 3
    assert grader_processes() == []


def test_closing_a_pool_that_was_never_started_is_fine(grader_config, grader_processes) -> None:
    GraderPool(grader_config()).close()
    assert grader_processes() == []


PARENT = """
import asyncio, sys
import numpy as np

assert __name__ == "__main__", "a grader process ran its parent's main module"

from replay.records import Completion, FinishReason, Problem, VersionSpan
from rewards import RewardsConfig
from rewards.pool import GraderPool

completion = Completion(
    np.zeros(1, np.int32), np.zeros(1, np.float32), (VersionSpan(0, 0, 1),), FinishReason.STOP,
    np.ones(1, np.bool_), sys.argv[2],
)
pool = GraderPool(RewardsConfig(grader=sys.argv[1], processes=2, timeout_seconds=600))
pool.start()

async def main():
    calls = [asyncio.create_task(pool.grade(Problem("1", "test", "?"), [completion])) for _ in range(2)]
    await asyncio.sleep(0)
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    await asyncio.gather(*calls)

asyncio.run(main())
"""


@pytest.fixture
def start_parent(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    started: list[subprocess.Popen[str]] = []

    def start(text: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([os.getcwd(), *sys.path])
        command = [sys.executable, str(script), f"{PLUG_IN}:judge", text]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
        started.append(parent)
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        return parent

    yield start
    for parent in started:
        parent.kill()
        parent.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
@pytest.mark.parametrize("text", ["loop", "loop in C"])
def test_no_process_outlives_a_parent_that_is_killed(start_parent, grader_processes, text: str) -> None:
    parent = start_parent(text)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(grader_processes(psutil.Process(parent.pid))) == 2
    parent.kill()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


def test_a_parent_that_forgets_to_close_still_ends(start_parent) -> None:
    parent = start_parent("good")
    assert parent.wait(timeout=30) == 0


def test_a_pool_started_in_a_thread_that_ends_keeps_its_processes(
    grader_config, grader_processes, completion
) -> None:
    # Linux kills a process at the death of the thread that started it.
    pool = GraderPool(grader_config())
    with ThreadPoolExecutor(1) as threads:
        threads.submit(pool.start).result()
    before = grader_processes()
    grades = asyncio.run(pool.grade(PROBLEM, [completion("who")]))
    assert grades[0].outcome is Outcome.CORRECT
    assert set(grader_processes()) == set(before)
    pool.close()
