"""No process of a run is left behind, and no other process is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from inflight.processes import RUN_ID_VARIABLE, end_processes, processes_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the environment of other processes")

# A process has no environment yet while it is being started, so all of them say when they are there.
IDLE = [sys.executable, "-c", "import signal\nprint('ready', flush=True)\nsignal.pause()"]
PARENT = [sys.executable, "-c", f"import subprocess\nsubprocess.run({IDLE!r})"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\nsignal.pause()",
]
# Writes a file when it is asked to end, as an actor that saves something would.
TIDY = [
    sys.executable,
    "-c",
    "import pathlib, signal, sys\n"
    "def end(*_):\n    pathlib.Path(sys.argv[1]).write_text('tidied up')\n    sys.exit()\n"
    "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\nsignal.pause()",
]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run_id() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(command: list[str], mark: str | None, says_ready: bool = True) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if name != RUN_ID_VARIABLE}
        if mark is not None:
            environment[RUN_ID_VARIABLE] = mark
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=os.getcwd()
        )
        started.append(process)
        if says_ready:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def end(run_id: str, grace_seconds: float = 0.0) -> tuple[int, int]:
    """`end_processes`, after a look at whom it would hit: a mistake must not end the other runs of this machine."""
    found = {process.pid for process in processes_of(run_id)}
    own = {child.pid for child in psutil.Process().children(recursive=True)}
    assert {pid for pid in found - own if psutil.pid_exists(pid)} == set()
    return end_processes(run_id, grace_seconds)


def is_running(process: subprocess.Popen[str] | psutil.Process) -> bool:
    try:
        return bool(psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_children_of_a_marked_process_belong_to_the_run_too(start: Start, run_id: str) -> None:
    parent = start(PARENT, run_id)
    (child,) = psutil.Process(parent.pid).children()
    assert {process.pid for process in processes_of(run_id)} == {parent.pid, child.pid}
    assert end(run_id) == (2, 0)
    assert not is_running(parent)
    assert not is_running(child)


def test_processes_without_the_mark_and_of_another_run_are_not_touched(start: Start, run_id: str) -> None:
    others = [start(IDLE, None), start(IDLE, uuid.uuid4().hex), start(IDLE, "")]
    own = start(IDLE, run_id)
    assert [process.pid for process in processes_of(run_id)] == [own.pid]
    assert end(run_id) == (1, 0)
    assert not is_running(own)
    assert all(is_running(other) for other in others)


def test_a_process_that_ignores_the_request_to_end_is_killed(start: Start, run_id: str) -> None:
    stubborn = start(STUBBORN, run_id)
    assert end(run_id) == (1, 0)
    assert not is_running(stubborn)


def test_a_process_is_asked_to_end_before_it_is_killed(start: Start, run_id: str, tmp_path: Path) -> None:
    tidy = start([*TIDY, str(tmp_path / "note")], run_id)
    assert end(run_id) == (1, 0)
    assert not is_running(tidy)
    assert (tmp_path / "note").read_text() == "tidied up"


def test_a_process_that_ends_within_the_grace_is_left_to_itself(start: Start, run_id: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    start(["sh", "-c", f"echo ready; sleep 0.5; echo 'ended by itself' > '{note}'"], run_id)
    assert end(run_id, grace_seconds=60.0) == (0, 0)
    assert note.read_text() == "ended by itself\n"


def test_a_process_that_is_dead_and_not_yet_waited_for_does_not_count(start: Start, run_id: str) -> None:
    dead = start(["true"], run_id, says_ready=False)
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(dead.pid).status() == psutil.STATUS_ZOMBIE
    assert processes_of(run_id) == []
    assert end(run_id) == (0, 0)


def test_a_driver_that_carries_the_mark_does_not_end_itself(start: Start, run_id: str) -> None:
    code = f"from inflight.processes import processes_of\nprint(processes_of({run_id!r}))"
    driver = start([sys.executable, "-c", code], run_id, says_ready=False)
    assert driver.communicate(timeout=60)[0] == "[]\n"
