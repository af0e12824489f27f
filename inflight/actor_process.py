"""What every Ray worker process of a run does first: write its output into the run's folder."""

from __future__ import annotations

import logging
import os

LOG_FILE_VARIABLE = "INFLIGHT_LOG_FILE"


def set_up() -> None:
    """Point standard output and error, also of later child processes such as vLLM's, to the log file."""
    path = os.environ.get(LOG_FILE_VARIABLE)
    if path is None:
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
