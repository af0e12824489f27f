"""The command line as a user runs it, in a process of its own whose descendants can be found afterwards."""

import os
import select
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
MARK = "INFLIGHT_TEST_MARK"


class Command:
    """`inflight ...`, started in a process group of its own, as by a shell.

    Use as a context manager: whatever is left is killed at the end, after the test has looked at it.
    """

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self._mark = uuid.uuid4().hex
        self._seen = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "inflight", *arguments],
            cwd=ROOT,
            # Wide enough that no path is broken over two lines.
            env={**os.environ, "COLUMNS": "250", MARK: self._mark, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes():
            process.kill()
        self._process.communicate()

    def wait_for(self, text: str, timeout: float) -> None:
        """Until a line with this text is printed."""
        deadline = time.monotonic() + timeout
        assert self._process.stdout is not None
        while text not in self._seen:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._process.stdout.fileno(), 65536).decode() if ready else ""
            assert chunk, f"{text!r} did not appear in:\n{self._seen}"
            self._seen += chunk

    def finish(self, timeout: float) -> tuple[int, str]:
        """Exit status and everything printed."""
        output, _ = self._process.communicate(timeout=timeout)
        return self._process.returncode, self._seen + output

    def interrupt(self, number: int) -> None:
        """What Ctrl-C does: the signal goes to the whole process group."""
        os.killpg(self._process.pid, number)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """Every living process that descends from the command, whoever its parent is now."""
        return marked_processes(self._mark)


def marked_processes(mark: str) -> list[psutil.Process]:
    """Living processes with this mark in their environment, except the caller's."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.pid != os.getpid() and process.environ().get(MARK) == mark
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
