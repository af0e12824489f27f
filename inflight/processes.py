"""Every process of a run, found by a mark in its environment, and its end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psutil

RUN_ID_VARIABLE = "INFLIGHT_RUN_ID"

_POLL_SECONDS = 0.1


def processes_of(run_id: str) -> list[psutil.Process]:
    """The processes on this machine that were started with this run's mark, except this one."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.pid != os.getpid() and process.environ().get(RUN_ID_VARIABLE) == run_id
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def end_processes(run_id: str, grace_seconds: float) -> tuple[int, int]:
    """Wait for a run's processes to end, then terminate and at last kill what is left.

    Returns:
        How many had to be ended from here, and how many are left all the same.
    """
    deadline = time.monotonic() + grace_seconds
    remaining = processes_of(run_id)
    while remaining and time.monotonic() < deadline:
        psutil.wait_procs(remaining, timeout=_POLL_SECONDS)
        remaining = processes_of(run_id)
    ended = len(remaining)
    for process in remaining:
        _signal(process, process.terminate)
    psutil.wait_procs(remaining, timeout=1.0)
    for process in processes_of(run_id):
        _signal(process, process.kill)
    psutil.wait_procs(processes_of(run_id), timeout=2.0)
    return ended, len(processes_of(run_id))


def _signal(process: psutil.Process, send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return
